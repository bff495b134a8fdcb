import CoordinatorStore
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore
import Placement

/// The log of events, and the live stream of it.
extension CoordinatorRoutes {
    func eventCalls() -> [APIRoute] {
        [
            APIRoute(.get, Self.prefix + "/events", .viewer) { request in
                try Self.json(try await self.core.store.events(try Self.eventQuery(request.query)))
            },
            APIRoute(.get, Self.prefix + "/events/stream", .viewer, isStreaming: true) { request in
                try self.follow(request)
            },
        ]
    }

    private enum EventOrder: String, CaseIterable { case oldest, newest }

    private static func eventQuery(_ query: QueryReader) throws(Problem) -> EventQuery {
        let filter = try query.filter()
        var wish = EventQuery(
            isNewestFirst: try query.choice("order", of: EventOrder.self) == .newest,
            after: try query.number("after", Self.times),
            limit: try query.limit(EventQuery.limits.upperBound, standard: 100))
        (wish.vhost, wish.app, wish.name) = (filter.vhost, filter.app, filter.name)
        wish.kind = try query.choice("kind", of: ClusterEvent.Kind.self)
        wish.node = try query.node("node")
        wish.actor = try query.text("actor", limit: 64, allowsEmpty: false)
        if let actor = wish.actor, !TokenBody.isName(actor) { throw Problem.invalid("actor is no name of a token") }
        wish.fromMillis = try query.number("from", Self.times)
        wish.toMillis = try query.number("to", Self.times)
        wish.text = try query.text("q", limit: 64, allowsEmpty: false)
        return wish
    }

    // MARK: Live

    /// Events that a follower who comes back is told of at most; who was away for longer loads the lists anew.
    private static let maximumMissed = 1_000

    private func follow(_ request: APIRequest) throws -> Response {
        guard self.configuration.servesEvents else {
            throw Problem("no-events", .notAcceptable, "Event streams are turned off: poll")
        }
        let given = request.header(Self.lastEventID)
        let after: Int64?
        if let given, !given.isEmpty {
            // An id that is none of ours is before all: the follower is told to load anew.
            after = QueryReader.integer(given) ?? -1
        } else {
            after = try request.query.number("after", Self.times)
        }
        guard let follower = self.core.feed.followers.open() else {
            throw Problem(
                "too-many-followers", .serviceUnavailable, "Too many follow the events",
                detail: "at most \(self.configuration.maximumEventStreams)")
        }
        let body = ResponseBody { writer in
            defer { self.core.feed.followers.close(follower.id) }
            try await request.request.body.consumeWithCancellationOnInboundClose { _ in
                try await self.tell(request.caller, signal: follower.signal, after: after, to: &writer)
            }
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
    private func tell(
        _ caller: Caller, signal: AsyncStream<Void>, after: Int64?, to writer: inout any ResponseBodyWriter
    ) async throws {
        var sequence = self.core.feed.newest
        // What is in the log and in the feed is told once.
        var told = Int64(0)
        try await Self.write(EventFeed.text("hello", await self.core.overview()), to: &writer)
        if let after { told = try await self.tellMissed(after: after, to: &writer) }
        for await _ in signal {
            guard self.core.callers.isValid(caller, nowMillis: CoordinatorCore.wallMillis()) else { return }
            guard let (messages, newest) = self.core.feed.messages(after: sequence) else {
                // Too slow: what was missed is gone from memory.
                sequence = self.core.feed.newest
                try await Self.write(EventFeed.text("reset", Empty()), to: &writer)
                continue
            }
            sequence = newest
            let news = messages.filter { ($0.event ?? .max) > told }
            let text = news.map(\.text).joined()
            try await Self.write(text.isEmpty ? ": alive\n\n" : text, to: &writer)
        }
    }

    private struct Empty: Encodable {}

    /// Tells the events behind `after`, or that there are too many. Returns the id of the last one.
    @concurrent
    private func tellMissed(after: Int64, to writer: inout any ResponseBodyWriter) async throws -> Int64 {
        let range = try await self.core.store.eventRange()
        guard let range, after >= range.lowerBound - 1, after <= range.upperBound,
            range.upperBound - after <= Self.maximumMissed
        else {
            if range == nil, after == 0 { return 0 }
            try await Self.write(EventFeed.text("reset", Empty()), to: &writer)
            return range?.upperBound ?? 0
        }
        let events = try await self.core.store.events(after: after, limit: Self.maximumMissed)
        try await Self.write(events.compactMap { EventFeed.message($0)?.text }.joined(), to: &writer)
        return events.last?.id ?? after
    }

    @concurrent
    private static func write(_ text: String?, to writer: inout any ResponseBodyWriter) async throws {
        guard let text, !text.isEmpty else { return }
        try await writer.write(ByteBuffer(string: text))
    }

    // Safety: a literal of letters and hyphens is a field name, so the initializer does not fail.
    // swift-format-ignore: NeverForceUnwrap
    static let lastEventID = HTTPField.Name("Last-Event-ID")!
    // Safety: as above.
    // swift-format-ignore: NeverForceUnwrap
    static let accelBuffering = HTTPField.Name("X-Accel-Buffering")!
}
