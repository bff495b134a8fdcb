package import Media

/// A track as the cluster's API tells it.
package struct TrackFacts: Sendable, Hashable, Codable {
    /// `video` or `audio`.
    package var kind: String
    package var codec: String
    package var width: Int?
    package var height: Int?
    package var profile: String?
    package var level: String?
    package var frameRate: Double?
    package var sampleRate: Int?
    package var channels: Int?

    package init(kind: String, codec: String) {
        self.kind = kind
        self.codec = codec
    }
}

/// Who publishes a stream.
package struct PublisherFacts: Sendable, Hashable, Codable {
    /// The session on the node, as the node's API names it.
    package var session: String
    package var address: String
    package var transport: String
    package var userAgent: String?
    /// Seconds since it began.
    package var seconds: Double

    package init(session: String, address: String, transport: String, userAgent: String?, seconds: Double) {
        self.session = session
        self.address = address
        self.transport = transport
        self.userAgent = userAgent
        self.seconds = seconds
    }
}

/// What a node sees of one stream that it has, as holder or as one that pulls it. In each heartbeat.
package struct StreamFacts: Sendable, Hashable, Codable {
    package var key: StreamKey
    package var epoch: UInt64
    /// The node holds it; else it pulls it, or hands its publisher on.
    package var isHolder: Bool
    package var tracks: [TrackFacts]
    package var publisher: PublisherFacts?
    /// Bits a second that come in, over the last seconds.
    package var ingestBitsPerSecond: UInt64
    /// Bits a second that go out to all.
    package var egressBitsPerSecond: UInt64
    /// Video frames a second, over the last seconds.
    package var framesPerSecond: Double
    /// The length of the last complete group of pictures; 0 when not known.
    package var gopMillis: Int
    package var videoFrames: Int
    package var droppedFrames: Int
    package var timelineJumps: Int
    package var skips: Int
    /// Viewers at this node by transport, relays not counted.
    package var viewers: [String: Int]
    /// Nodes that pull from this one.
    package var relays: Int
    package var receivedBytes: UInt64
    package var sentBytes: UInt64
    /// Since the publisher's last media.
    package var silentMillis: Int64
    /// A recording is being written.
    package var isRecording: Bool

    package init(key: StreamKey, epoch: UInt64, isHolder: Bool) {
        self.key = key
        self.epoch = epoch
        self.isHolder = isHolder
        self.tracks = []
        self.ingestBitsPerSecond = 0
        self.egressBitsPerSecond = 0
        self.framesPerSecond = 0
        self.gopMillis = 0
        self.videoFrames = 0
        self.droppedFrames = 0
        self.timelineJumps = 0
        self.skips = 0
        self.viewers = [:]
        self.relays = 0
        self.receivedBytes = 0
        self.sentBytes = 0
        self.silentMillis = 0
        self.isRecording = false
    }
}

/// A request of the cluster's API that one node answers with its own API: `GET /api/v1/nodes/{id}/requests` (long poll)
/// hands them out, `POST /api/v1/nodes/{id}/responses` takes the answers. Nodes need no port that the coordinator can
/// reach.
package struct NodeRequest: Sendable, Hashable, Codable {
    /// Names the request in the coordinator's process.
    package var id: UInt64
    /// `GET`, `POST`, `PUT` or `DELETE`.
    package var method: String
    /// Path and query of the node's API, such as `/api/v2/sessions?limit=100`.
    package var path: String
    package var body: String?
    /// An answer after this time is of no use.
    package var deadlineMillis: Int64

    package init(id: UInt64, method: String, path: String, body: String? = nil, deadlineMillis: Int64) {
        self.id = id
        self.method = method
        self.path = path
        self.body = body
        self.deadlineMillis = deadlineMillis
    }
}

/// Body of the answer to `GET /api/v1/nodes/{id}/requests?instance=…&wait=…`; empty when the wait was over.
package struct NodeRequests: Sendable, Hashable, Codable {
    package var requests: [NodeRequest]

    package init(requests: [NodeRequest]) { self.requests = requests }
}

/// Body of `POST /api/v1/nodes/{id}/responses`.
package struct NodeResponse: Sendable, Hashable, Codable {
    package var instance: String
    package var id: UInt64
    package var status: Int
    package var contentType: String
    /// In Base64, at most `maximumBodyBytes` before that.
    package var body: String

    package static let maximumBodyBytes = 4 << 20

    package init(instance: String, id: UInt64, status: Int, contentType: String, body: String) {
        self.instance = instance
        self.id = id
        self.status = status
        self.contentType = contentType
        self.body = body
    }
}

/// What the operator set for the streams of a vhost and app, over what the nodes' own configuration says.
package struct StreamPolicy: Sendable, Hashable, Codable {
    /// `nil` means all.
    package var vhost: String?
    package var app: String?
    /// Keys of the `stream` section of the configuration, such as `publish.policy`, with values as text.
    package var settings: [String: String]

    package init(vhost: String?, app: String?, settings: [String: String]) {
        self.vhost = vhost
        self.app = app
        self.settings = settings
    }
}

/// What a node tells of itself beyond its load.
package struct NodeFacts: Sendable, Hashable, Codable {
    /// Wall clock of the start of its process, milliseconds since 1970.
    package var startedMillis: Int64
    /// Open sessions of all kinds.
    package var sessions: Int
    package var receivedBitsPerSecond: UInt64
    package var sentBitsPerSecond: UInt64
    /// Viewers by transport, relays not counted.
    package var viewers: [String: Int]
    package var publishers: Int
    /// Used share of the fullest disk that is written to, 0…1; `nil` when none is.
    package var diskUsed: Double?
    /// What an operator should look at; a closed set of words.
    package var alarms: [String]

    package init(startedMillis: Int64) {
        self.startedMillis = startedMillis
        self.sessions = 0
        self.receivedBitsPerSecond = 0
        self.sentBitsPerSecond = 0
        self.viewers = [:]
        self.publishers = 0
        self.alarms = []
    }
}

/// The policies that hold, as nodes are told them.
package struct PolicyList: Sendable, Hashable, Codable {
    package var revision: UInt64
    /// Later ones win over earlier ones.
    package var policies: [StreamPolicy]

    package init(revision: UInt64, policies: [StreamPolicy]) {
        self.revision = revision
        self.policies = policies
    }
}
