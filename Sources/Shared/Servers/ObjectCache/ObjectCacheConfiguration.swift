package import NIOCore

/// What a node's cache of other nodes' objects needs to know. All durations are positive.
package struct ObjectCacheConfiguration: Sendable {
    /// This node's name, told to the nodes that are asked.
    package var node: String
    /// The cluster's secret: sent as `Authorization: Bearer` so that the asked node knows a node from a viewer.
    package var secret: String?
    /// What all objects in memory may take together.
    package var maximumBytes: Int
    /// Objects above this are passed through and not kept.
    package var maximumObjectBytes: Int
    /// How many objects are fetched at once.
    package var maximumFlights: Int
    /// How many requests wait for one object.
    package var maximumWaitersPerObject: Int
    /// How many requests wait at all.
    package var maximumWaiters: Int
    /// How many answers "not there" are remembered.
    package var maximumNegatives: Int
    /// How many streams are remembered beside their objects: where they were last, how far their playlists had come.
    package var maximumStreams: Int
    /// How many objects are passed through at once.
    package var maximumPassThroughs: Int
    /// How many streams a group may have.
    package var maximumGroupMembers: Int
    /// A request that came over this many nodes goes no further, so that a circle of nodes ends.
    package var maximumHops: Int
    /// Connections to one other node. Blocking playlist requests hold one each.
    package var maximumConnectionsPerNode: Int
    /// How long a connection may take to open.
    package var connectDeadline: TimeAmount
    /// How long the answer to a request for an object that never changes may take to begin. A part that is only announced
    /// is waited for.
    package var headDeadline: TimeAmount
    /// The same for playlists, manifests and pictures that need not wait for media: an old one is better than a late one.
    package var playlistDeadline: TimeAmount
    /// How long the body of an object that is kept may take.
    package var bodyDeadline: TimeAmount
    /// How long a blocking playlist request waits where the playlist's target duration is not known, and at most: three
    /// target durations and a second are waited where it is known.
    package var waitDeadline: TimeAmount
    /// How long an object that is passed through may stand still.
    package var idleDeadline: TimeAmount
    /// How long beyond its lifetime a playlist is served while no node has a newer one.
    package var staleLimit: TimeAmount
    /// How long "not there" and "unreachable" are remembered.
    package var negativeLifetime: TimeAmount
    /// The first pause after a failed fetch of a playlist that is served stale; doubles up to `negativeLifetime`.
    package var retryInterval: TimeAmount
    /// How long a playlist that went back is refused. Longer than that no newer one can be expected.
    package var regressionLimit: TimeAmount
    /// How long a key is kept.
    package var keyLifetime: TimeAmount

    package init(
        node: String, secret: String? = nil, maximumBytes: Int = 512 << 20, maximumObjectBytes: Int = 16 << 20,
        maximumFlights: Int = 4_096, maximumWaitersPerObject: Int = 50_000, maximumWaiters: Int = 200_000,
        maximumNegatives: Int = 10_000, maximumStreams: Int = 20_000, maximumPassThroughs: Int = 256,
        maximumGroupMembers: Int = 32, maximumHops: Int = 4, maximumConnectionsPerNode: Int = 1_024,
        connectDeadline: TimeAmount = .seconds(1), headDeadline: TimeAmount = .seconds(5),
        playlistDeadline: TimeAmount = .seconds(2), bodyDeadline: TimeAmount = .seconds(20),
        waitDeadline: TimeAmount = .seconds(20),
        idleDeadline: TimeAmount = .seconds(60), staleLimit: TimeAmount = .seconds(10),
        negativeLifetime: TimeAmount = .seconds(1), retryInterval: TimeAmount = .milliseconds(250),
        regressionLimit: TimeAmount = .seconds(60), keyLifetime: TimeAmount = .seconds(60)
    ) {
        self.node = node
        self.secret = secret
        self.maximumBytes = maximumBytes
        self.maximumObjectBytes = maximumObjectBytes
        self.maximumFlights = maximumFlights
        self.maximumWaitersPerObject = maximumWaitersPerObject
        self.maximumWaiters = maximumWaiters
        self.maximumNegatives = maximumNegatives
        self.maximumStreams = maximumStreams
        self.maximumPassThroughs = maximumPassThroughs
        self.maximumGroupMembers = maximumGroupMembers
        self.maximumHops = maximumHops
        self.maximumConnectionsPerNode = maximumConnectionsPerNode
        self.connectDeadline = connectDeadline
        self.headDeadline = headDeadline
        self.playlistDeadline = playlistDeadline
        self.bodyDeadline = bodyDeadline
        self.waitDeadline = waitDeadline
        self.idleDeadline = idleDeadline
        self.staleLimit = staleLimit
        self.negativeLifetime = negativeLifetime
        self.retryInterval = retryInterval
        self.regressionLimit = regressionLimit
        self.keyLifetime = keyLifetime
    }

    /// Names the first field that makes no sense.
    package func validate() throws(ObjectCacheConfigurationError) {
        let node = self.node
        guard !node.isEmpty, node.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ",") }) else {
            throw .invalid("node")
        }
        let counts = [
            ("maximumBytes", self.maximumBytes), ("maximumObjectBytes", self.maximumObjectBytes),
            ("maximumFlights", self.maximumFlights), ("maximumWaitersPerObject", self.maximumWaitersPerObject),
            ("maximumWaiters", self.maximumWaiters), ("maximumNegatives", self.maximumNegatives),
            ("maximumStreams", self.maximumStreams), ("maximumPassThroughs", self.maximumPassThroughs),
            ("maximumGroupMembers", self.maximumGroupMembers), ("maximumHops", self.maximumHops),
            ("maximumConnectionsPerNode", self.maximumConnectionsPerNode),
        ]
        if let wrong = counts.first(where: { $0.1 <= 0 }) { throw .invalid(wrong.0) }
        let durations = [
            ("connectDeadline", self.connectDeadline), ("headDeadline", self.headDeadline),
            ("playlistDeadline", self.playlistDeadline), ("bodyDeadline", self.bodyDeadline),
            ("waitDeadline", self.waitDeadline),
            ("idleDeadline", self.idleDeadline), ("staleLimit", self.staleLimit),
            ("negativeLifetime", self.negativeLifetime), ("retryInterval", self.retryInterval),
            ("regressionLimit", self.regressionLimit), ("keyLifetime", self.keyLifetime),
        ]
        if let wrong = durations.first(where: { $0.1 <= .zero }) { throw .invalid(wrong.0) }
        guard self.maximumObjectBytes <= self.maximumBytes else { throw .invalid("maximumObjectBytes") }
    }
}

/// Why a configuration cannot be used.
package enum ObjectCacheConfigurationError: Error, Equatable {
    /// The name of the field.
    case invalid(String)
}
