package import Exposition
package import GB28181Server
import Hooks
package import Media
package import MediaStorage
package import NIOCore
package import ObjectCache
package import ProcessStats
package import Recorder
package import SegmentStore
package import StreamHub

/// Who the node is. Does not change while the process runs.
package struct NodeAPIIdentity: Sendable, Hashable {
    package var node: String
    /// `origin` or `edge`.
    package var role: String
    package var region: String
    package var version: String
    /// SRS's `server`: one name for this installation, the same as in hooks.
    package var server: String
    /// SRS's `service`: 8 characters that are new with each start of the process.
    package var service: String
    /// Wall clock of the start of the process, milliseconds since 1970.
    package var startedMillis: Int64

    package init(
        node: String, role: String, region: String, version: String, server: String, service: String,
        startedMillis: Int64
    ) {
        self.node = node
        self.role = role
        self.region = region
        self.version = version
        self.server = server
        self.service = service
        self.startedMillis = startedMillis
    }
}

/// Settings of the API. Asked for with each request, so that a reload counts at once.
package struct NodeAPIOptions: Sendable, Hashable {
    /// The API's own address, as `/api/v1/raw` and `/api/v1/clusters` tell it.
    package var apiHost = "127.0.0.1"
    package var apiPort = 1985
    /// Where publishers and players of this node go, as `/api/v1/clusters` tells it. A host that listens on all
    /// addresses is told as the caller named it.
    package var rtmpHost = "0.0.0.0"
    package var rtmpPort = 1935
    /// Other sites may read the API (CORS).
    package var crossdomain = false
    /// `GET /api/v1/raw?rpc=reload` reloads. Set it only where requests need credentials: a GET that changes something
    /// can be caused by any page that a browser on the same machine opens.
    package var allowsRawReload = false
    /// `/metrics` has series with a `stream` label.
    package var metricsOfStreams = false
    /// Streams with a label of their own; all others are summed as `other`.
    package var maximumMetricStreams = 100

    package init() {}
}

/// A vhost as the settings have it.
package struct NodeVhost: Sendable, Hashable {
    package var name: String
    package var isHLSEnabled: Bool
    /// Length of HLS segments.
    package var hlsSegmentSeconds: Double

    package init(name: String, isHLSEnabled: Bool, hlsSegmentSeconds: Double) {
        self.name = name
        self.isHLSEnabled = isHLSEnabled
        self.hlsSegmentSeconds = hlsSegmentSeconds
    }
}

/// How ready the node is for publishers and viewers.
package struct NodeReadiness: Sendable, Hashable {
    package enum Cluster: Sendable, Hashable {
        /// No coordinator is configured.
        case alone
        case joined
        /// The coordinator has not answered for this long.
        case silent(for: TimeAmount)
    }

    /// All listeners are bound.
    package var isListening: Bool
    package var isDraining: Bool
    package var cluster: Cluster
    /// How long the coordinator may be silent before the node counts as not ready.
    package var grace = TimeAmount.seconds(10)
    /// Limits that are reached, by their setting, such as `rtmp.max_connections`.
    package var limitsReached: [String] = []

    package init(isListening: Bool, isDraining: Bool, cluster: Cluster) {
        self.isListening = isListening
        self.isDraining = isDraining
        self.cluster = cluster
    }
}

/// A text with its type, such as the settings.
package struct NodeDocument: Sendable, Hashable {
    package var contentType: String
    package var text: String

    package init(contentType: String, text: String) {
        self.contentType = contentType
        self.text = text
    }
}

/// What came to the node's listeners for transport streams.
package struct NodeTSFigures: Sendable, Hashable {
    package var streams = 0
    package var datagrams: UInt64 = 0
    package var bytes: UInt64 = 0
    /// Datagrams that hold no packets, that are of senders who are not wanted, and that never came.
    package var malformed: UInt64 = 0
    package var foreign: UInt64 = 0
    package var lost: UInt64 = 0

    package init() {}
}

/// Sums over the SRT connections of the node, those that are over included.
package struct NodeSRTFigures: Sendable, Hashable {
    package var connections = 0
    package var opened: UInt64 = 0
    /// Packets by what became of them, from a closed set.
    package var packets: [(kind: String, count: Int64)] {
        [
            ("sent", self.sent), ("received", self.received), ("send_lost", self.sendLost),
            ("receive_lost", self.receiveLost), ("retransmitted", self.retransmitted),
            ("send_dropped", self.sendDropped), ("receive_dropped", self.receiveDropped),
            ("undecrypted", self.undecrypted),
        ]
    }
    package var sent: Int64 = 0
    package var received: Int64 = 0
    package var sendLost: Int64 = 0
    package var receiveLost: Int64 = 0
    package var retransmitted: Int64 = 0
    package var sendDropped: Int64 = 0
    package var receiveDropped: Int64 = 0
    package var undecrypted: Int64 = 0
    /// Peers that were turned away in their handshake, by code.
    package var turnedAway: [Int: UInt64] = [:]

    package init() {}
}

/// What became of a reload.
package struct NodeReload: Sendable, Hashable {
    /// The new configuration holds; else the old one goes on unchanged.
    package var succeeded: Bool
    /// One sentence: what changed, or the first problem with its key.
    package var message: String
    /// A JSON object with what changed and what needs a restart, or with the problems.
    package var json: String

    package init(succeeded: Bool, message: String, json: String) {
        self.succeeded = succeeded
        self.message = message
        self.json = json
    }
}

/// A picture of a stream, or why there is none.
package enum NodeSnapshot: Sendable {
    case jpeg(ByteBuffer)
    /// 404.
    case none(String)
    /// 503.
    case busy(String)
}

/// Disks, catalogue and packaging of an origin.
package struct NodeStorage: Sendable {
    /// The catalogue's state in a word or two.
    package var catalog: String
    package var folders: [StorageSnapshot]
    package var streams: [SegmentStoreStatistics]

    package init(catalog: String, folders: [StorageSnapshot], streams: [SegmentStoreStatistics]) {
        self.catalog = catalog
        self.folders = folders
        self.streams = streams
    }
}

/// Recordings of an origin.
package struct NodeRecordings: Sendable {
    package var list: @Sendable (RecordingQuery) async -> Result<RecordingPage, RecorderError>
    package var delete: @Sendable (String) async -> Result<Void, RecorderError>
    package var statuses: @Sendable () -> [RecordingStatus]
    package var status: @Sendable (StreamKey) -> RecordingStatus
    /// Whether a stream is recorded whatever the settings say; `nil` leaves it to them.
    package var setIntent: @Sendable (Bool?, StreamKey) async -> Result<Void, RecorderError>

    package init(
        list: @escaping @Sendable (RecordingQuery) async -> Result<RecordingPage, RecorderError>,
        delete: @escaping @Sendable (String) async -> Result<Void, RecorderError>,
        statuses: @escaping @Sendable () -> [RecordingStatus],
        status: @escaping @Sendable (StreamKey) -> RecordingStatus,
        setIntent: @escaping @Sendable (Bool?, StreamKey) async -> Result<Void, RecorderError>
    ) {
        self.list = list
        self.delete = delete
        self.statuses = statuses
        self.status = status
        self.setIntent = setIntent
    }

    package init(_ recorder: Recorder) {
        self.init(
            list: { query in
                await Self.result { () async throws(RecorderError) in try await recorder.recordings(query) }
            },
            delete: { id in await Self.result { () async throws(RecorderError) in try await recorder.delete(id) } },
            statuses: { recorder.statuses() }, status: { recorder.status(of: $0) },
            setIntent: { records, key in
                await Self.result { () async throws(RecorderError) in try await recorder.setIntent(records, for: key) }
            })
    }

    private static func result<Value>(
        _ body: () async throws(RecorderError) -> Value
    ) async -> Result<Value, RecorderError> {
        do throws(RecorderError) { return .success(try await body()) } catch { return .failure(error) }
    }
}

/// How the HTTP callbacks fare.
package struct NodeHooks: Sendable, Hashable {
    package struct Event: Sendable, Hashable {
        /// `on_publish` and so on: from a closed set.
        package var name: String
        /// Calls that said yes, that said no, that brought no answer, and that were not made because too many waited.
        package var allowed: UInt64 = 0
        package var denied: UInt64 = 0
        package var failed: UInt64 = 0
        package var dropped: UInt64 = 0
        /// Tries after the first.
        package var retried: UInt64 = 0
        /// Seconds that calls took.
        package var latency = MetricHistogram()

        package init(name: String) { self.name = name }
    }

    package var events: [Event]
    /// Calls that wait for their turn and that no session waits for.
    package var queued = 0
    /// Sessions that wait for answers.
    package var deciding = 0
    /// Receivers that could not be reached lately.
    package var unreachable = 0

    package init(events: [Event]) { self.events = events }
}

/// A stream on its way to another server.
package struct NodeForward: Sendable, Hashable {
    package var key: StreamKey
    /// Host and path without user, password and query.
    package var destination: String
    /// `connecting`, `live` or `waiting` for the next try.
    package var state: String
    package var sentBytes: UInt64
    package var attempts: Int
    /// Why the last connection ended, or did not come about; empty if there was none, or nobody says.
    package var lastError = ""
    /// How the network treats the connection that stands, where the protocol tells.
    package var path: PathStatistics?

    package init(key: StreamKey, destination: String, state: String, sentBytes: UInt64, attempts: Int) {
        self.key = key
        self.destination = destination
        self.state = state
        self.sentBytes = sentBytes
        self.attempts = attempts
    }
}

/// A stream that is fetched from another server, as the settings say.
package struct NodePull: Sendable, Hashable {
    /// The stream here, as `app/name`.
    package var stream: String
    /// Host and path without user, password and query.
    package var source: String
    /// `connecting`, `live`, `waiting` for the next try or for the other server's call, or `idle` while nobody watches a
    /// stream on demand.
    package var state: String
    package var receivedBytes: UInt64
    package var attempts: Int
    /// Why the last connection ended, or did not come about; empty if there was none.
    package var lastError = ""
    /// How the network treats the connection that stands.
    package var path: PathStatistics?

    package init(stream: String, source: String, state: String, receivedBytes: UInt64, attempts: Int) {
        self.stream = stream
        self.source = source
        self.state = state
        self.receivedBytes = receivedBytes
        self.attempts = attempts
    }
}

/// Sessions that were refused by rules, hooks and limits. Transport and cause come from closed sets.
package struct NodeRefusals: Sendable, Hashable {
    package var transport: String
    package var cause: String
    package var count: UInt64

    package init(transport: String, cause: String, count: UInt64) {
        self.transport = transport
        self.cause = cause
        self.count = count
    }
}

/// Figures for the metrics that belong to none of the other parts.
package struct NodeFigures: Sendable, Hashable {
    package var refusals: [NodeRefusals] = []
    /// What the rules of access refused, by action (`publish`, `play`) and cause; both from closed sets.
    package var accessRefusals: [String: [String: UInt64]] = [:]
    /// Fetches of the key set of tokens, those of them that failed, and keys that can be used.
    package var keySetFetches: UInt64 = 0
    package var keySetFailures: UInt64 = 0
    package var keySetKeys = 0
    package var rtmpConnections = 0
    /// Streams that are being pulled from other nodes.
    package var upstreams = 0
    package var snapshotsMade: UInt64 = 0
    package var snapshotsFailed: UInt64 = 0
    package var reloads: UInt64 = 0
    package var failedReloads: UInt64 = 0

    package init() {}
}

/// What the API tells and does, as the node provides it. All of it may be called on any thread.
package struct NodeAPIServices: Sendable {
    package var identity: NodeAPIIdentity
    package var facts: ProcessFacts
    package var options: @Sendable () -> NodeAPIOptions
    package var sessions: SessionRegistry
    package var sampler: ProcessSampler
    package var loops: LoopLagProbe
    /// Ids that SRS's API and hooks use for a vhost and a stream: `vid-` and 7 characters.
    package var vhostID: @Sendable (String) -> String
    package var streamID: @Sendable (StreamKey) -> String
    package var streams: @Sendable () async -> [NodeStream]
    package var stream: @Sendable (StreamKey) async -> NodeStream?
    /// The default vhost is among them.
    package var vhosts: @Sendable () -> [NodeVhost]
    package var vhostOfDomain: @Sendable (String) -> String
    package var readiness: @Sendable () -> NodeReadiness
    package var setDraining: @Sendable (Bool) async -> Void
    package var reload: @Sendable () async -> NodeReload
    /// The settings in force, secrets masked.
    package var settings: @Sendable () -> NodeDocument
    /// `nil` on an edge, as are the next two.
    package var recordings: NodeRecordings?
    package var storage: (@Sendable () -> NodeStorage)?
    package var snapshot: (@Sendable (StreamKey) async -> NodeSnapshot)?
    /// `nil` on a node that fetches nothing from others.
    package var cache: (@Sendable () -> ObjectCacheStatistics)?
    package var hooks: (@Sendable () -> NodeHooks)?
    /// Devices of GB/T 28181; `nil` where none are taken.
    package var gb28181: GB28181Server?
    /// What SRT counts; `nil` where it is off.
    package var srt: (@Sendable () -> NodeSRTFigures)?
    /// What the listeners for transport streams count; `nil` where there are none.
    package var transportStreams: (@Sendable () async -> NodeTSFigures)?
    package var forwards: (@Sendable () -> [NodeForward])?
    /// `nil` where nothing is fetched by SRT.
    package var pulls: (@Sendable () -> [NodePull])?
    package var figures: @Sendable () -> NodeFigures

    /// What every node has; the rest is set afterwards.
    package init(
        identity: NodeAPIIdentity, sessions: SessionRegistry, sampler: ProcessSampler, loops: LoopLagProbe,
        streams: @escaping @Sendable () async -> [NodeStream],
        stream: @escaping @Sendable (StreamKey) async -> NodeStream?,
        readiness: @escaping @Sendable () -> NodeReadiness
    ) {
        self.identity = identity
        self.facts = .read()
        self.options = { NodeAPIOptions() }
        self.sessions = sessions
        self.sampler = sampler
        self.loops = loops
        self.vhostID = { SRSIdentifiers.vhost($0) }
        self.streamID = { SRSIdentifiers.stream($0) }
        self.streams = streams
        self.stream = stream
        self.vhosts = {
            [NodeVhost(name: StreamKey.defaultVhost, isHLSEnabled: false, hlsSegmentSeconds: 0)]
        }
        self.vhostOfDomain = { _ in StreamKey.defaultVhost }
        self.readiness = readiness
        self.setDraining = { _ in }
        self.reload = { NodeReload(succeeded: false, message: "this node has no file to reload", json: "{}") }
        self.settings = { NodeDocument(contentType: "application/json", text: "{}") }
        self.figures = { NodeFigures() }
    }
}
