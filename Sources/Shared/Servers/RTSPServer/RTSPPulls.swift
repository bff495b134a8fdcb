package import Logging
package import Media
package import NIOCore
package import RTSP
import StreamHub
import Synchronization

/// A stream that is fetched from another server or a camera.
package struct RTSPPullTarget: Sendable {
    package enum Delivery: String, Sendable, Hashable, CaseIterable {
        /// By TCP, and by UDP where the server has nothing else.
        case auto
        case tcp
        case udp
    }

    /// The stream here, with the query that rules and hooks may want of its publisher.
    package var vhost: String?
    package var app: String
    package var name: String
    package var query: String
    /// With user and password, if there are any.
    package var url: RTSPURL
    package var delivery: Delivery
    /// Only while somebody watches.
    package var isOnDemand: Bool
    /// Whether the certificate of `rtsps` has to be right; those of cameras seldom are.
    package var verifiesCertificate: Bool

    package init(
        vhost: String? = nil, app: String, name: String, query: String = "", url: RTSPURL, delivery: Delivery = .auto,
        isOnDemand: Bool = false, verifiesCertificate: Bool = true
    ) {
        self.vhost = vhost
        self.app = app
        self.name = name
        self.query = query
        self.url = url
        self.delivery = delivery
        self.isOnDemand = isOnDemand
        self.verifiesCertificate = verifiesCertificate
    }
}

extension RTSPPullTarget {
    /// The stream here; `nil` if its name cannot be one.
    fileprivate var key: StreamKey? {
        try? StreamKey(vhost: self.vhost ?? StreamKey.defaultVhost, app: self.app, name: self.name)
    }
}

/// The times of fetching.
package struct RTSPPullConfiguration: Sendable, Hashable {
    package var connectTimeout = TimeAmount.seconds(5)
    package var requestTimeout = TimeAmount.seconds(10)
    /// The longest silence of media before the connection is given up.
    package var mediaTimeout = TimeAmount.seconds(10)
    /// How long a stream on demand is still fetched after its last viewer left.
    package var linger = TimeAmount.seconds(10)
    /// How long the first viewer of a stream on demand may wait for it.
    package var viewerWait = TimeAmount.seconds(10)
    /// How long packets by UDP wait for one that is missing.
    package var receiveWait = TimeAmount.milliseconds(200)
    package var firstPause = TimeAmount.seconds(1)
    package var longestPause = TimeAmount.seconds(30)

    package init() {}
}

/// Fetches streams from other servers and cameras: all the time, or while somebody watches. A connection that is lost is
/// made again, after pauses that grow as long as nothing comes of it.
package final class RTSPPulls: StreamSupplier {
    private let tasks: [RTSPPull]
    private let onDemand: [StreamKey: RTSPPull]
    private let viewerWait: TimeAmount
    private let isStopped = Atomic<Bool>(false)

    /// `server` gives the loops, the gate and the ports.
    package init(server: RTSPServer, targets: [RTSPPullTarget], configuration: RTSPPullConfiguration, logger: Logger) {
        self.viewerWait = configuration.viewerWait
        self.tasks = targets.map { RTSPPull(server: server, target: $0, configuration: configuration, logger: logger) }
        self.onDemand = Dictionary(
            self.tasks.filter(\.target.isOnDemand).compactMap { task in task.target.key.map { ($0, task) } },
            uniquingKeysWith: { first, _ in first })
    }

    /// There is nothing to fetch.
    package var isEmpty: Bool { self.tasks.isEmpty }

    /// All streams, in the order of the targets. From any thread.
    package var snapshots: [RTSPPullSnapshot] { self.tasks.map(\.snapshot) }

    /// Begins to fetch what is always fetched.
    package func start() { for task in self.tasks where !task.target.isOnDemand { task.demand() } }

    /// Somebody wants to watch a stream: fetches it, if it is one of those on demand.
    package func demand(_ key: StreamKey) async -> TimeAmount? {
        guard let task = self.onDemand[key], !self.isStopped.load(ordering: .relaxed) else { return nil }
        task.demand()
        return self.viewerWait
    }

    package func filesWanted(of key: StreamKey) { self.onDemand[key]?.filesWanted() }

    /// Says goodbye, and fetches nothing any more.
    package func stop() {
        self.isStopped.store(true, ordering: .relaxed)
        for task in self.tasks { task.stop() }
    }
}
