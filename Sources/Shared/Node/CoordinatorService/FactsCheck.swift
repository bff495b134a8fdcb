import Placement

/// Checks numbers of what a node tells, so that sums of them do not overflow and lists stay small, and shortens texts:
/// those come from clients, and must not be able to make a heartbeat fail.
enum FactsCheck {
    /// What a JSON number can carry exactly.
    private static let largest: UInt64 = 1 << 53 - 1
    private static let maximumTracks = 16
    private static let maximumTransports = 32
    private static let maximumAlarms = 32

    static func check(_ status: NodeStatus) throws(PlacementValueError) {
        let load = status.load
        try self.range(
            load.egressBitsPerSecond, load.egressCapacityBitsPerSecond, load.memoryBytes, load.memoryLimitBytes)
        try self.count(load.streams, load.viewers, load.loopLagMillis)
        guard (0...64).contains(load.busiestLoop) else { throw .outOfRange(.load) }
        if let node = status.node { try self.check(node) }
        for facts in status.facts ?? [] { try self.check(facts) }
    }

    private static func check(_ node: NodeFacts) throws(PlacementValueError) {
        try self.range(node.receivedBitsPerSecond, node.sentBitsPerSecond)
        try self.count(node.sessions, node.publishers)
        try self.viewers(node.viewers)
        guard node.startedMillis >= 0, UInt64(node.startedMillis) <= self.largest else { throw .outOfRange(.load) }
        guard node.diskUsed.map({ (0...1).contains($0) }) ?? true else { throw .outOfRange(.load) }
        guard node.alarms.count <= self.maximumAlarms else {
            throw .tooMany(.load, found: node.alarms.count, allowed: self.maximumAlarms)
        }
    }

    private static func check(_ facts: StreamFacts) throws(PlacementValueError) {
        guard facts.epoch <= PlacementEpoch.maximum else { throw .outOfRange(.epoch) }
        try self.range(
            facts.ingestBitsPerSecond, facts.egressBitsPerSecond, facts.receivedBytes, facts.sentBytes)
        try self.count(
            facts.gopMillis, facts.videoFrames, facts.droppedFrames, facts.timelineJumps, facts.skips, facts.relays)
        guard facts.silentMillis >= 0, UInt64(facts.silentMillis) <= self.largest else {
            throw .outOfRange(.silentMillis)
        }
        guard facts.framesPerSecond.isFinite, facts.framesPerSecond >= 0 else { throw .outOfRange(.streams) }
        try self.viewers(facts.viewers)
        guard facts.tracks.count <= self.maximumTracks else {
            throw .tooMany(.streams, found: facts.tracks.count, allowed: self.maximumTracks)
        }
        for track in facts.tracks { try self.check(track) }
        if let publisher = facts.publisher { try self.check(publisher) }
    }

    private static func check(_ track: TrackFacts) throws(PlacementValueError) {
        guard track.kind == "video" || track.kind == "audio" else { throw .outOfRange(.streams) }
        try self.count(track.width ?? 0, track.height ?? 0, track.sampleRate ?? 0, track.channels ?? 0)
        guard track.frameRate.map({ $0.isFinite && $0 >= 0 }) ?? true else { throw .outOfRange(.streams) }
    }

    private static func check(_ publisher: PublisherFacts) throws(PlacementValueError) {
        guard self.isTransport(publisher.transport) else { throw .outOfRange(.streams) }
        guard publisher.seconds.isFinite, publisher.seconds >= 0 else { throw .outOfRange(.streams) }
    }

    private static func viewers(_ viewers: [String: Int]) throws(PlacementValueError) {
        guard viewers.count <= self.maximumTransports else {
            throw .tooMany(.streams, found: viewers.count, allowed: self.maximumTransports)
        }
        for (transport, count) in viewers {
            guard self.isTransport(transport), count >= 0, UInt64(count) <= self.largest else {
                throw .outOfRange(.streams)
            }
        }
    }

    /// Transports become labels of metrics, so they are short words.
    static func isTransport(_ text: String) -> Bool {
        (1...32).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "-")
            }
    }

    private static func range(_ values: UInt64...) throws(PlacementValueError) {
        for value in values where value > self.largest { throw .outOfRange(.load) }
    }

    private static func count(_ values: Int...) throws(PlacementValueError) {
        for value in values where value < 0 || UInt64(value) > self.largest { throw .outOfRange(.load) }
    }

    // MARK: Texts

    static func trim(_ status: inout NodeStatus) {
        if var node = status.node {
            node.alarms = node.alarms.map { self.shortened($0, to: 64) }
            status.node = node
        }
        guard let facts = status.facts else { return }
        status.facts = facts.map { self.trimmed($0) }
    }

    private static func trimmed(_ facts: StreamFacts) -> StreamFacts {
        var facts = facts
        facts.tracks = facts.tracks.map { track in
            var track = track
            track.codec = self.shortened(track.codec, to: 32)
            track.profile = track.profile.map { self.shortened($0, to: 64) }
            track.level = track.level.map { self.shortened($0, to: 64) }
            return track
        }
        if var publisher = facts.publisher {
            publisher.session = self.shortened(publisher.session, to: 64)
            publisher.address = self.shortened(publisher.address, to: 64)
            publisher.userAgent = publisher.userAgent.map { self.shortened($0, to: 256) }
            facts.publisher = publisher
        }
        return facts
    }

    private static func shortened(_ text: String, to limit: Int) -> String {
        text.utf8.count <= limit ? text : String(decoding: text.utf8.prefix(limit), as: UTF8.self)
    }
}
