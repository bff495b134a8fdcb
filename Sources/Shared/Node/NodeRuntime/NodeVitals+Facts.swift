import Foundation
import Media
import NIOCore
import Placement
import StreamHub
import Streaming

extension NodeVitals {
    /// What the node sees of its streams.
    func facts(_ snapshots: [StreamSnapshot]) -> [StreamFacts] {
        let publishers = self.publishers()
        let streams: [StreamFacts] = snapshots.compactMap { snapshot in
            guard snapshot.phase == .live || snapshot.phase == .grace else { return nil }
            let grant = self.claims.grant(snapshot.key)
            var facts = StreamFacts(
                key: snapshot.key, epoch: grant?.epoch ?? snapshot.epoch, isHolder: grant != nil)
            facts.fill(from: snapshot)
            if let totals = self.sources.registry?.totals(of: snapshot.key) { facts.fill(from: totals) }
            facts.publisher = publishers[snapshot.key].flatMap(PublisherFacts.init)
            facts.isRecording = self.sources.isRecording(snapshot.key)
            return facts
        }
        return streams + self.forwarded(publishers, besides: Set(snapshots.map(\.key)))
    }

    /// Publishers that are handed on to an origin: the node has no such streams, unless somebody plays them here.
    private func forwarded(
        _ publishers: [StreamKey: SessionSnapshot], besides known: Set<StreamKey>
    ) -> [StreamFacts] {
        publishers.compactMap { key, session in
            guard !known.contains(key), self.claims.grant(key) == nil else { return nil }
            var facts = StreamFacts(key: key, epoch: session.activity?.epoch ?? 0, isHolder: false)
            facts.publisher = PublisherFacts(session)
            facts.ingestBitsPerSecond = session.receivedBitsPerSecond
            facts.receivedBytes = session.receivedBytes
            return facts
        }
    }

    private func publishers() -> [StreamKey: SessionSnapshot] {
        guard let registry = self.sources.registry else { return [:] }
        var filter = SessionFilter()
        filter.kind = .publish
        let list = registry.list(filter, limit: .max).compactMap { session in
            session.activity.map { ($0.key, session) }
        }
        // Two for one key are there for a moment, while one takes over from the other.
        return Dictionary(list, uniquingKeysWith: { $0.age < $1.age ? $0 : $1 })
    }

    /// What the node tells of itself.
    func nodeFacts() -> NodeFacts {
        var facts = NodeFacts(startedMillis: Int64(self.startedAt.timeIntervalSince1970 * 1_000))
        if let registry = self.sources.registry {
            let totals = registry.totals()
            facts.sessions = registry.counts.open
            facts.receivedBitsPerSecond = totals.receivedBitsPerSecond
            facts.sentBitsPerSecond = totals.sentBitsPerSecond
            facts.viewers = totals.players
            // A publisher that an edge hands on is the origin's.
            facts.publishers = min(totals.publishers, self.claims.count)
        }
        facts.diskUsed = self.sources.diskUsed()
        facts.alarms = self.sources.alarms()
        return facts
    }
}

extension PublisherFacts {
    init?(_ session: SessionSnapshot) {
        guard let activity = session.activity else { return nil }
        let agent = session.client.userAgent
        self.init(
            session: session.account.id, address: session.ip, transport: activity.transport,
            userAgent: agent.isEmpty ? nil : String(agent.prefix(200)),
            seconds: Double((session.activeFor ?? session.age).nanoseconds) / 1e9)
    }
}

extension StreamFacts {
    fileprivate mutating func fill(from snapshot: StreamSnapshot) {
        self.tracks = [snapshot.state.video, snapshot.state.audio].compactMap { $0.map(TrackFacts.init) }
        self.ingestBitsPerSecond = snapshot.ingest.bitsPerSecond
        self.framesPerSecond = snapshot.ingest.videoFramesPerSecond
        self.gopMillis = snapshot.ingest.gopLength.map { Int($0.millis) } ?? 0
        self.videoFrames = snapshot.counters.videoFrames
        self.droppedFrames = snapshot.counters.droppedFrames
        self.timelineJumps = snapshot.joinedJumps
        self.skips = snapshot.counters.skipsByBytes + snapshot.counters.skipsByAge
        self.silentMillis = (snapshot.silentFor?.nanoseconds ?? 0) / 1_000_000
    }

    fileprivate mutating func fill(from totals: SessionTotals) {
        self.egressBitsPerSecond = totals.sentBitsPerSecond
        self.viewers = totals.players
        self.relays = totals.relays
        self.receivedBytes = totals.receivedBytes
        self.sentBytes = totals.sentBytes
    }
}

extension TrackFacts {
    init(_ track: Track) {
        self.init(kind: track.kind.rawValue, codec: track.codec.rawValue)
        switch track.format {
        case .video(let format):
            (self.width, self.height, self.frameRate) = (format.width, format.height, format.frameRate)
            (self.profile, self.level) = (format.profile, format.level)
        case .audio(let format):
            (self.sampleRate, self.channels, self.profile) = (format.sampleRate, format.channels, format.profile)
        }
    }
}
