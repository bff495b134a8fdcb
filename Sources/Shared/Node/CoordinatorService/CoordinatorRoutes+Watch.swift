import HTTPTypes
import Hummingbird
import NIOCore
import Placement

/// The placements as nodes follow them.
extension CoordinatorRoutes {
    func watchCalls() -> [APIRoute] {
        [APIRoute(.get, Self.prefix + "/watch", .node, isStreaming: true) { try await self.watch($0) }]
    }

    private static let maximumPollSeconds: Int64 = 60

    /// Events, or with `poll=1` one batch as soon as there is something new.
    private func watch(_ request: APIRequest) async throws -> Response {
        let query = request.query
        let after = try query.text("after", limit: 256)
        let wait = try query.number("wait", 0...Self.maximumPollSeconds) ?? 20
        let node = try query.node("node")
        let instance = try query.text("instance", limit: 64) ?? ""
        if try query.flag("poll") { return try await self.poll(after: after, wait: wait) }
        guard self.configuration.servesEvents else {
            throw Problem("no-events", .notAcceptable, "Event streams are turned off: poll")
        }
        guard let watcher = self.core.watchers.open() else {
            throw CoordinatorCore.CoreError.tooManyWatchers(limit: self.configuration.maximumWatchers)
        }
        let cursor = request.header(Self.lastEventID) ?? after
        let core = self.core
        let body = ResponseBody { writer in
            do {
                try await request.request.body.consumeWithCancellationOnInboundClose { _ in
                    try await Self.stream(core, signal: watcher.signal, from: cursor, to: &writer)
                }
            } catch {
                core.watchers.close(watcher.id)
                if let node { await core.watchBroke(node: node, instance: instance) }
                throw error
            }
            core.watchers.close(watcher.id)
            try await writer.finish(nil)
        }
        return Response(
            status: .ok,
            headers: [
                .contentType: "text/event-stream", .cacheControl: "no-store",
                // Tells nginx not to hold events back.
                Self.accelBuffering: "no",
            ], body: body)
    }

    @concurrent
    private static func stream(
        _ core: CoordinatorCore, signal: AsyncStream<Void>, from start: String?,
        to writer: inout any ResponseBodyWriter
    ) async throws {
        guard var cursor = try await self.begin(core, from: start, to: &writer) else { return }
        for await _ in signal {
            let step = await core.watchStep(after: cursor)
            // Too slow for the ring: the watcher comes back, and then gets all placements.
            guard !step.isSnapshot else { return }
            if step.cursor == cursor {
                try await writer.write(ByteBuffer(string: ": alive\n\n"))
            } else {
                try await self.write(step, to: &writer)
            }
            cursor = step.cursor
        }
    }

    /// Brings a watcher to the present. Returns where it is then; `nil` when it is too slow for the ring.
    @concurrent
    private static func begin(
        _ core: CoordinatorCore, from start: String?, to writer: inout any ResponseBodyWriter
    ) async throws -> String? {
        let first = await core.watchStep(after: start)
        guard first.isSnapshot else {
            try await writer.write(ByteBuffer(string: "event: resumed\ndata: {}\n\n"))
            try await self.write(first, to: &writer)
            return first.cursor
        }
        try await writer.write(ByteBuffer(string: "event: reset\ndata: {}\n\n"))
        for index in 0..<first.rendered.count { try await writer.write(first.rendered.piece(index)) }
        let mark = "{\"recovering\":\(first.isRecovering)}"
        try await writer.write(ByteBuffer(string: "event: synced\nid: \(first.cursor)\ndata: \(mark)\n\n"))
        // The snapshot may be older than the watcher's signal, which then knows nothing of what came in between.
        let since = await core.watchStep(after: first.cursor)
        guard !since.isSnapshot else { return nil }
        if since.cursor != first.cursor { try await self.write(since, to: &writer) }
        return since.cursor
    }

    @concurrent
    private static func write(
        _ step: CoordinatorCore.WatchStep, to writer: inout any ResponseBodyWriter
    ) async throws {
        let count = step.rendered.count
        for index in 0..<max(count - 1, 0) { try await writer.write(step.rendered.piece(index)) }
        // What follows goes with the last piece: a write is a system call for each watcher.
        var last = count == 0 ? ByteBuffer() : step.rendered.piece(count - 1)
        if step.hasRecovered { last.writeStaticString("event: recovered\ndata: {}\n\n") }
        last.writeString("event: mark\nid: \(step.cursor)\ndata: {}\n\n")
        try await writer.write(last)
    }

    private func poll(after cursor: String?, wait: Int64) async throws -> Response {
        guard let watcher = self.core.watchers.open() else {
            throw CoordinatorCore.CoreError.tooManyWatchers(limit: self.configuration.maximumWatchers)
        }
        defer { self.core.watchers.close(watcher.id) }
        let core = self.core
        let batch = try await withThrowingTaskGroup(of: WatchBatch?.self) { group in
            group.addTask {
                var step = await core.watchStep(after: cursor)
                while !Self.isNews(step, after: cursor), await Self.next(of: watcher.signal) {
                    step = await core.watchStep(after: cursor)
                }
                return step.batch
            }
            group.addTask {
                try await Task.sleep(for: .seconds(wait))
                return nil
            }
            let first = try await group.next() ?? nil
            group.cancelAll()
            return first
        }
        guard let batch else { return try Self.json(await core.watchStep(after: cursor).batch) }
        return try Self.json(batch)
    }

    private static func isNews(_ step: CoordinatorCore.WatchStep, after cursor: String?) -> Bool {
        step.isSnapshot || step.cursor != cursor
    }

    private static func next(of signal: AsyncStream<Void>) async -> Bool {
        for await _ in signal { return true }
        return false
    }
}
