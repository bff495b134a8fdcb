package import Media
package import NIOCore
package import Streaming
import Synchronization

/// All streams of a node.
package final class StreamHub: Sendable {
    private struct Registry {
        var streams: [StreamKey: LiveStream] = [:]
        var observer: (any StreamObserver)?
        var audioTranscoders: (any AudioTranscoderFactory)?
    }

    private let settings: @Sendable (StreamKey) -> LiveStreamSettings
    private let registry = Mutex(Registry())
    private let sessionIDs = Atomic<UInt64>(0)
    private let sessions: SessionRegistry?

    /// `sessions` keeps the totals of the streams that exist here.
    package init(
        sessions: SessionRegistry? = nil, settings: @escaping @Sendable (StreamKey) -> LiveStreamSettings
    ) {
        self.sessions = sessions
        self.settings = settings
    }

    /// Is told of changes; set before the first stream is made.
    package var observer: (any StreamObserver)? {
        get { self.registry.withLock { $0.observer } }
        set { self.registry.withLock { $0.observer = newValue } }
    }

    /// Makes the audio that renditions and taps ask for where the source has another; set before the first stream is
    /// made. Without it they all get the source's audio.
    package var audioTranscoders: (any AudioTranscoderFactory)? {
        get { self.registry.withLock { $0.audioTranscoders } }
        set { self.registry.withLock { $0.audioTranscoders = newValue } }
    }

    /// A number for a publisher or viewer that no other has on this node.
    package func nextSessionID() -> UInt64 {
        self.sessionIDs.wrappingAdd(1, ordering: .relaxed).newValue
    }

    package func existing(_ key: StreamKey) -> LiveStream? {
        self.registry.withLock { $0.streams[key] }
    }

    /// The stream of that key, made with `home` as its loop if there is none.
    package func stream(_ key: StreamKey, home: any EventLoop) -> LiveStream {
        self.registry.withLock { registry in
            if let stream = registry.streams[key] { return stream }
            let stream = LiveStream(key: key, home: home, settings: self.settings(key), hub: self)
            registry.streams[key] = stream
            self.sessions?.keepTotals(of: key)
            return stream
        }
    }

    func remove(_ stream: LiveStream) {
        self.registry.withLock { registry in
            guard registry.streams[stream.key] === stream else { return }
            registry.streams[stream.key] = nil
            self.sessions?.forgetTotals(of: stream.key)
        }
    }

    package var streams: [LiveStream] {
        self.registry.withLock { Array($0.streams.values) }
    }

    /// Snapshots of all streams, each taken on its own loop.
    package func snapshots() async -> [StreamSnapshot] {
        var snapshots: [StreamSnapshot] = []
        for stream in self.streams {
            if let snapshot = try? await stream.home.submit({ stream.snapshot() }).get() { snapshots.append(snapshot) }
        }
        return snapshots
    }
}
