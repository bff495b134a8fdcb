package import Media
package import NIOCore
package import MediaObjects

/// A node that can be asked for objects, over plain HTTP.
package struct ObjectUpstream: Sendable, Hashable {
    package var node: String
    /// A name or an address; IPv6 without brackets.
    package var host: String
    package var httpPort: Int
    /// The epoch under which the node holds the stream; 0 where nobody knows.
    package var epoch: UInt64

    package init(node: String, host: String, httpPort: Int, epoch: UInt64 = 0) {
        self.node = node
        self.host = host
        self.httpPort = httpPort
        self.epoch = epoch
    }
}

/// Where an object is.
package enum UpstreamAnswer: Sendable, Hashable {
    /// Any of these has it; they are tried in order.
    case upstreams([ObjectUpstream])
    /// Each of these has a piece: the recordings of a range that began on one origin and went on at another.
    case spread([ObjectUpstream])
    /// Nobody publishes the stream, or nobody recorded it.
    case notFound
    /// It was published and has ended. What the node that held it still has may be served.
    case ended
    /// Nobody publishes it; these may bring it when they are asked for its playlist, which takes a while. `hasEnded`: it
    /// was published before.
    case suppliers([ObjectUpstream], hasEnded: Bool)
    /// Nobody can tell.
    case unavailable(String)
}

/// What the cache asks the node around it. The closures have deadlines of their own.
package struct ObjectCacheResolver: Sendable {
    /// Where an object of a stream is. Asked for each fetch, so it answers from memory where it can.
    package var upstreams: @Sendable (StreamKey, MediaObjectName) async -> UpstreamAnswer
    /// The streams of the group that a key names; empty if it names none, or if one origin can answer for all of it.
    package var groupMembers: @Sendable (StreamKey) async -> [StreamKey]
    /// The multivariant playlist of a group, made of what `_info.json` says of its members; `nil` if it says too little.
    package var multivariant: @Sendable (StreamKey, [GroupMember]) -> ByteBuffer?

    package init(
        upstreams: @escaping @Sendable (StreamKey, MediaObjectName) async -> UpstreamAnswer,
        groupMembers: @escaping @Sendable (StreamKey) async -> [StreamKey] = { _ in [] },
        multivariant: @escaping @Sendable (StreamKey, [GroupMember]) -> ByteBuffer? = { _, _ in nil }
    ) {
        self.upstreams = upstreams
        self.groupMembers = groupMembers
        self.multivariant = multivariant
    }
}

/// A member of a group with the JSON of its `_info.json`.
package struct GroupMember: Sendable, Hashable {
    package var key: StreamKey
    package var info: ByteBuffer

    package init(key: StreamKey, info: ByteBuffer) {
        self.key = key
        self.info = info
    }
}

/// What the cache did since it was made, and what it holds now.
package struct ObjectCacheStatistics: Sendable, Hashable {
    /// Requests answered from memory.
    package var hits = 0
    /// Requests for which a fetch was begun.
    package var misses = 0
    /// Requests that waited for a fetch which another one had begun.
    package var waits = 0
    /// Requests answered with a playlist beyond its lifetime, because no newer one could be had.
    package var stale = 0
    /// Requests answered by what was remembered of a failure.
    package var negatives = 0
    /// Requests answered "busy" because a bound was reached.
    package var refused = 0
    /// Requests that were passed through.
    package var passedThrough = 0
    /// Answers of other nodes that brought an object, or said that it has not changed.
    package var fetched = 0
    /// Answers that said that the object is not there.
    package var notFound = 0
    /// Fetches that failed: no connection, no answer in time, a broken one.
    package var errors = 0
    /// Playlists that were refused because they were older than one that was answered before.
    package var outdated = 0
    /// Objects that made room for others.
    package var evictions = 0
    /// Bytes of bodies from other nodes, without what was passed through.
    package var fetchedBytes = 0
    /// Objects in memory.
    package var objects = 0
    /// What they take.
    package var bytes = 0
    /// Fetches under way.
    package var flights = 0
    /// Requests that wait for them.
    package var waiters = 0
    /// Objects being passed through.
    package var passThroughs = 0

    package init() {}
}
