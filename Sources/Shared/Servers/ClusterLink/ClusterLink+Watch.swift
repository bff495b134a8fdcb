import AsyncHTTPClient
import FoundationEssentials
import Logging
import Media
import NIOCore
import NIOHTTP1
import Placement
import Synchronization

extension ClusterLink {
    /// The coordinator sends at least a comment in this time, so longer silence is a dead connection.
    static let watchSilenceMillis: Int64 = 15_000
    /// Events that do not get through this often in a row, while the coordinator does answer, are given up for a while.
    private static let failuresBeforePolling = 3
    private static let pollingPeriod = Duration.seconds(60)
    private static let pollWaitSeconds: Int64 = 10

    /// Follows the changes of all placements, for as long as the link runs.
    func runWatch() async {
        var failures = 0
        var refusals = 0
        while !Task.isCancelled {
            let started = ContinuousClock.now
            do throws(CoordinatorCallError) {
                if refusals >= Self.failuresBeforePolling {
                    try await self.runPolls(until: started + Self.pollingPeriod)
                    refusals = 0
                } else {
                    try await self.runEvents()
                }
                failures = 0
            } catch {
                failures += 1
                switch error {
                case .unreachable: break
                case .problem, .malformed, .status: refusals += 1
                }
                self.logger.debug("the watch broke off", metadata: ["error": "\(error.text)"])
            }
            let hadEvents = self.mutex.withLock { state in
                defer { state.watch = .none }
                return state.watch != .none
            }
            if hadEvents { (failures, refusals) = (1, 0) }
            let limit = self.configuration.maximumBackoffMillis
            let pause = min(self.configuration.minimumBackoffMillis << Int64(min(max(failures - 1, 0), 16)), limit)
            let jittered = Int64(Double(pause) * Double.random(in: 0.5...1))
            do { try await Task.sleep(for: .milliseconds(max(jittered, 1))) } catch { return }
        }
    }

    private func watchURL(_ query: String) -> String {
        let node = self.configuration.node
        return self.url("watch?node=\(node.id)&instance=\(CoordinatorClient.escape(node.instance))\(query)")
    }

    // MARK: Events

    private func runEvents() async throws(CoordinatorCallError) {
        let (client, cursor) = self.mutex.withLock { ($0.client, $0.cursor) }
        guard let client else { return }
        var request = client.request(self.watchURL(""), method: .GET)
        request.headers.replaceOrAdd(name: "Accept", value: "text/event-stream")
        if let cursor { request.headers.add(name: "Last-Event-ID", value: cursor) }
        do {
            let response = try await client.http.execute(request, deadline: .distantFuture)
            guard response.status == .ok else {
                let body = try await response.body.collect(upTo: 64 << 10)
                throw CoordinatorClient.error(status: response.status, data: Data(body.readableBytesView))
            }
            guard response.headers.first(name: "Content-Type")?.hasPrefix("text/event-stream") == true else {
                throw CoordinatorCallError.malformed("the watch is no event stream")
            }
            var parser = EventStreamParser(maximumBytes: 1 << 20)
            for try await buffer in response.body {
                for event in try parser.receive(buffer) { try self.handle(event) }
            }
        } catch let error as CoordinatorCallError {
            throw error
        } catch let error as EventStreamError {
            throw .malformed("\(error)")
        } catch {
            throw .unreachable("\(error)")
        }
    }

    private struct SyncMark: Codable { var recovering: Bool }

    private func handle(_ event: ServerSentEvent) throws(CoordinatorCallError) {
        switch event.name {
        case "reset":
            self.mutex.withLock { $0.cache.beginSnapshot() }
        case "placement":
            self.apply([try self.decode(event.data, as: PlacementChange.self)])
        case "synced":
            let mark = try self.decode(event.data, as: SyncMark.self)
            self.mutex.withLock { $0.watch = .events }
            if !mark.recovering { self.sweep() }
        case "resumed":
            self.mutex.withLock { $0.watch = .events }
        case "recovered":
            self.sweep()
        default:
            break
        }
        guard let id = event.id else { return }
        self.mutex.withLock { $0.cursor = id }
    }

    private func decode<Value: Decodable>(_ text: String, as type: Value.Type) throws(CoordinatorCallError) -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(text.utf8))
        } catch {
            throw .malformed("\(error)")
        }
    }

    // MARK: Long poll

    private func runPolls(until end: ContinuousClock.Instant) async throws(CoordinatorCallError) {
        var needsSweep = false
        while !Task.isCancelled, ContinuousClock.now < end {
            let (client, cursor) = self.mutex.withLock { ($0.client, $0.cursor) }
            guard let client else { return }
            let after = cursor.map { "&after=\(CoordinatorClient.escape($0))" } ?? ""
            let request = client.request(
                self.watchURL("&poll=1&wait=\(Self.pollWaitSeconds)\(after)"), method: .GET)
            let batch = try await client.answer(
                to: request, deadline: .seconds(Self.pollWaitSeconds) + .seconds(5), as: WatchBatch.self)
            if batch.isSnapshot {
                self.mutex.withLock { $0.cache.beginSnapshot() }
                needsSweep = true
            }
            self.apply(batch.changes)
            self.mutex.withLock { state in
                state.cursor = batch.cursor
                state.watch = .polling
            }
            if needsSweep, !batch.isRecovering {
                self.sweep()
                needsSweep = false
            }
        }
    }

    // MARK: Changes

    private func apply(_ changes: [PlacementChange]) {
        let node = self.configuration.node.id
        let (news, superseded, handlers) = self.mutex.withLock { state in
            let now = NIODeadline.now()
            let news = changes.compactMap { state.cache.apply($0, now: now) }
            return (news, news.filter { state.isSuperseded(by: $0, node: node) }, state.handlers)
        }
        for change in superseded { handlers.onSuperseded(change.key, change.epoch) }
        for change in news { handlers.onChange(change) }
    }

    private func sweep() {
        let (gone, onChange) = self.mutex.withLock { ($0.cache.sweep(), $0.handlers.onChange) }
        for change in gone { onChange(change) }
    }
}
