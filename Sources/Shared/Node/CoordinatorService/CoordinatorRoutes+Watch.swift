import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore
import Placement

/// The placements as nodes follow them.
extension CoordinatorRoutes {
    func watchCalls() -> [APIRoute] {
        [APIRoute(.get, Self.prefix + "/watch", .node, isStreaming: true) { try await self.watch($0) }]
    }

    /// Placements that go into one write of an event stream.
    private static let changesPerWrite = 500
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
        var step = await core.watchStep(after: start)
        if step.batch.isSnapshot {
            try await writer.write(ByteBuffer(string: "event: reset\ndata: {}\n\n"))
            try await self.write(step.batch.changes, to: &writer)
            let mark = "{\"recovering\":\(step.batch.isRecovering)}"
            try await writer.write(
                ByteBuffer(string: "event: synced\nid: \(step.batch.cursor)\ndata: \(mark)\n\n"))
        } else {
            try await writer.write(ByteBuffer(string: "event: resumed\ndata: {}\n\n"))
            try await self.write(step, to: &writer)
        }
        for await _ in signal {
            let before = step.batch.cursor
            step = await core.watchStep(after: before)
            // Too slow for the ring: the watcher comes back, and then gets all placements.
            guard !step.batch.isSnapshot else { return }
            if step.batch.cursor == before {
                try await writer.write(ByteBuffer(string: ": alive\n\n"))
            } else {
                try await self.write(step, to: &writer)
            }
        }
    }

    @concurrent
    private static func write(
        _ step: CoordinatorCore.WatchStep, to writer: inout any ResponseBodyWriter
    ) async throws {
        try await self.write(step.batch.changes, to: &writer)
        if step.hasRecovered { try await writer.write(ByteBuffer(string: "event: recovered\ndata: {}\n\n")) }
        try await writer.write(ByteBuffer(string: "event: mark\nid: \(step.batch.cursor)\ndata: {}\n\n"))
    }

    @concurrent
    private static func write(_ changes: [PlacementChange], to writer: inout any ResponseBodyWriter) async throws {
        let encoder = JSONEncoder()
        var rest = changes[...]
        while !rest.isEmpty {
            var buffer = ByteBuffer()
            for change in rest.prefix(self.changesPerWrite) {
                buffer.writeString("event: placement\ndata: ")
                buffer.writeBytes(try encoder.encode(change))
                buffer.writeString("\n\n")
            }
            rest = rest.dropFirst(self.changesPerWrite)
            try await writer.write(buffer)
        }
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
        step.batch.isSnapshot || step.batch.cursor != cursor
    }

    private static func next(of signal: AsyncStream<Void>) async -> Bool {
        for await _ in signal { return true }
        return false
    }
}
