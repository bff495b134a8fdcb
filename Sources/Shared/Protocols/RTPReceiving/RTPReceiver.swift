package import Media
package import NIOCore
package import RTP

/// What a receiver has to say since the last `poll`.
package struct RTPReceiverOutput: Sendable, Equatable {
    /// Tracks and frames in the order in which they are due, on the session's own clock of 90 kHz.
    package var events: [MediaEvent]
    /// Packets for one or more compounds to the sender, in this order.
    package var rtcp: [RTCPPacket]

    package init(events: [MediaEvent] = [], rtcp: [RTCPPacket] = []) {
        self.events = events
        self.rtcp = rtcp
    }

    package var isEmpty: Bool { self.events.isEmpty && self.rtcp.isEmpty }
}

/// Receives the RTP of one sender and makes media events of it.
///
/// Feed it each decrypted packet, then `poll` once for a batch and send what comes out; poll again at `nextDeadline`.
///
/// A packet finds its media line by SSRC (signalled or learnt), by the `mid` and `rid` header extensions, or by its
/// payload type. Each SSRC has a source of its own: packets are put into order, missing ones are asked for, restored
/// from retransmissions and redundant coding, and given up after a while; then video is dropped until the next
/// keyframe, which is asked for, so that no broken frame comes out. A frame leaves as soon as it is whole and all
/// before it are out or given up. Of simulcast's encodings the best that flows goes on.
///
/// Times: the first packet is at one second. Sources start by their arrival, and are moved to where the sender reports
/// want them by at most 5 ms a second.
///
/// Confined to one event loop. Everything kept is bounded by the configuration; pending events are bounded by polling.
package final class RTPReceiver {
    enum Route {
        case media(SourceReceiver)
        /// Retransmissions for the source.
        case repair(of: SourceReceiver)
    }

    private static let staleSource = TimeAmount.seconds(5)
    private static let choiceInterval = TimeAmount.milliseconds(250)
    /// Feedback leaves early when so many arrivals wait for it.
    private static let feedbackPackets = 200

    package let configuration: RTPReceiverConfiguration
    let session: SessionClock
    var routes: [UInt32: Route] = [:]
    /// In the order in which they appeared.
    var sources: [SourceReceiver] = []
    var lines: [LineReceiver]
    /// Reports of sources of which no packet came yet, the oldest first.
    var earlyReports: [(report: RTCPSenderReport, arrival: NIODeadline)] = []
    var arrivals = ArrivalRecorder()
    var feedbackCount: UInt8 = 0
    var feedbackDue: NIODeadline?
    var reportDue: NIODeadline
    var fullIntraSequence: UInt8 = 0
    var malformedPackets = 0
    var unroutedPackets = 0
    private var sourceCount = 0
    private var events: [MediaEvent] = []
    private var choiceDue: NIODeadline?
    private var videoLine: Int?
    private var audioLine: Int?
    private let transportSequenceID: UInt8?
    /// The line and the source of a signalled SSRC.
    let signalledLines: [UInt32: Int]
    /// The source that a signalled retransmission source repairs.
    let signalledRepairs: [UInt32: UInt32]

    /// `now` is the session's beginning.
    package init(configuration: RTPReceiverConfiguration, now: NIODeadline) {
        self.configuration = configuration
        self.session = SessionClock()
        self.lines = configuration.lines.map { LineReceiver(line: $0, limits: configuration.jitter) }
        self.reportDue = now + configuration.reports.reportInterval
        self.transportSequenceID =
            configuration.lines.first {
                $0.feedback.contains(.transportWide) && $0.extensions[.transportSequenceNumber] != nil
            }?.extensions[.transportSequenceNumber]
        var lines: [UInt32: Int] = [:]
        var repairs: [UInt32: UInt32] = [:]
        for (index, line) in configuration.lines.enumerated() {
            for ssrc in line.ssrcs + line.ssrcGroups.flatMap(\.ssrcs) where lines[ssrc] == nil { lines[ssrc] = index }
            for group in line.ssrcGroups where group.semantics == .flow && group.ssrcs.count == 2 {
                repairs[group.ssrcs[1]] = group.ssrcs[0]
            }
        }
        self.signalledLines = lines
        self.signalledRepairs = repairs
    }

    // MARK: In

    /// Takes a decrypted RTP packet that arrived at `arrival`. Broken and foreign packets are counted and dropped.
    ///
    /// `line` is the index of the media line where the transport tells it: a port or an interleaved channel of RTSP.
    /// Payloads stay slices of `datagram` while they wait: it should not be much larger than the packet.
    package func receive(rtp datagram: ByteBuffer, arrival: NIODeadline, line: Int? = nil) {
        guard let packet = try? RTPPacket(parsing: datagram) else {
            self.malformedPackets += 1
            return
        }
        self.recordArrival(packet, arrival: arrival)
        self.session.begin(at: arrival)
        guard let route = self.route(packet, line: line, now: arrival) else {
            self.unroutedPackets += 1
            return
        }
        switch route {
        case .media(let source):
            if source.rid == nil { source.rid = self.encodingName(packet.header, line: source.line, of: .rid) }
            self.receive(packet, by: source, isRepair: false, arrival: arrival)
            self.takeFrames(of: source, now: arrival)
        case .repair(let source):
            guard case .retransmission(let original) = source.line.payloadTypes[packet.header.payloadType],
                let repaired = try? RTXPacket.original(of: packet, ssrc: source.ssrc, payloadType: original)
            else { return }
            self.receive(repaired, by: source, isRepair: true, arrival: arrival)
            self.takeFrames(of: source, now: arrival)
        }
    }

    /// Takes a decrypted RTCP datagram. Broken ones are counted and dropped.
    package func receive(rtcp datagram: ByteBuffer, now: NIODeadline) {
        guard let packets = try? RTCPPacket.parseCompound(datagram) else {
            self.malformedPackets += 1
            return
        }
        self.receive(rtcp: packets, now: now)
    }

    /// A viewer needs a keyframe: asks the forwarded video source for one, unless that was just done.
    package func keyframeRequest(now: NIODeadline) {
        for (index, line) in self.lines.enumerated() where line.line.kind == .video {
            for source in self.sources where source.lineIndex == index {
                if line.forwarded == nil || line.forwarded == source.ssrc { source.keyframes.hurry(now: now) }
            }
        }
    }

    /// The transport knows its round trip, for example from the handshake. Sources that have not measured one use it.
    package func measured(roundTrip: TimeAmount) {
        self.toldRoundTrip = roundTrip
        for source in self.sources where source.losses.roundTrip == nil { source.tell(roundTrip: roundTrip) }
    }

    var toldRoundTrip: TimeAmount?

    // MARK: Out

    /// What is to be handed on and sent now. Times do not go back from call to call.
    package func poll(now: NIODeadline) -> RTPReceiverOutput {
        for source in self.sources {
            source.advance(now: now)
            self.takeFrames(of: source, now: now)
        }
        self.choose(now: now)
        let rtcp = self.takeControl(now: now)
        defer { self.events.removeAll(keepingCapacity: true) }
        return RTPReceiverOutput(events: self.events, rtcp: rtcp)
    }

    /// When to poll at the latest; earlier is harmless. `nil` before the first packet.
    package var nextDeadline: NIODeadline? {
        guard !self.sources.isEmpty else { return self.feedbackDue }
        var earliest = self.reportDue
        for deadline in [self.feedbackDue, self.choiceDue] {
            if let deadline { earliest = min(earliest, deadline) }
        }
        for source in self.sources {
            if let deadline = source.nextDeadline { earliest = min(earliest, deadline) }
        }
        for line in self.lines {
            if let deadline = line.settlesAt { earliest = min(earliest, deadline) }
        }
        return earliest
    }

    /// The counters of all sources that are followed.
    package func statistics(now: NIODeadline) -> RTPReceiverStatistics {
        RTPReceiverStatistics(
            sources: self.sources.map { source in
                var statistics = source.currentStatistics(now: now)
                statistics.isForwarded = self.lines[source.lineIndex].forwarded == source.ssrc
                return statistics
            }, malformedPackets: self.malformedPackets, unroutedPackets: self.unroutedPackets)
    }

    // MARK: Packets

    private func recordArrival(_ packet: RTPPacket, arrival: NIODeadline) {
        guard let id = self.transportSequenceID, let value = packet.header.extensions?.value(id: id),
            let number = value.getInteger(at: value.readerIndex, as: UInt16.self)
        else { return }
        self.arrivals.record(number, arrival: arrival)
        let due =
            self.arrivals.pending >= Self.feedbackPackets
            ? arrival : arrival + self.configuration.reports.feedbackInterval
        self.feedbackDue = min(self.feedbackDue ?? due, due)
    }

    /// Takes a packet of a source after redundant coding is undone.
    private func receive(_ packet: RTPPacket, by source: SourceReceiver, isRepair: Bool, arrival: NIODeadline) {
        var received = SourceReceiver.Packet(
            sequence: packet.header.sequenceNumber, payloadType: packet.header.payloadType,
            marker: packet.header.marker, timestamp: packet.header.timestamp, payload: packet.payload,
            isRepair: isRepair, isRetransmission: isRepair)
        guard case .redundancy = source.line.payloadTypes[packet.header.payloadType] else {
            source.receive(received, arrival: arrival)
            return
        }
        guard let redundant = try? REDPayload(parsing: packet.payload) else {
            received.payload = ByteBuffer()
            source.receive(received, arrival: arrival)
            return
        }
        self.restore(redundant.redundant, in: received, source: source, arrival: arrival)
        received.payloadType = redundant.primary.payloadType
        received.payload = redundant.primary.payload
        source.receive(received, arrival: arrival)
    }

    /// Older blocks repeat the packets before theirs, one each (RFC 2198 §3 leaves the numbers to the sender; all of
    /// WebRTC counts like this).
    private func restore(
        _ blocks: [REDPayload.Block], in packet: SourceReceiver.Packet, source: SourceReceiver, arrival: NIODeadline
    ) {
        for (index, block) in blocks.enumerated() where block.payload.readableBytes > 0 {
            let sequence = packet.sequence &- UInt16(truncatingIfNeeded: blocks.count - index)
            guard source.isMissing(sequence, before: packet.sequence) else { continue }
            let isNew = source.receive(
                SourceReceiver.Packet(
                    sequence: sequence, payloadType: block.payloadType, marker: false,
                    timestamp: packet.timestamp &- UInt32(block.timestampOffset), payload: block.payload,
                    isRepair: true), arrival: arrival)
            if isNew { source.statistics.recoveredByRedundancy += 1 }
        }
    }

    private func takeFrames(of source: SourceReceiver, now: NIODeadline) {
        let frames = source.takeFrames()
        guard !frames.isEmpty else { return }
        self.applyEarlyReport(of: source)
        let index = source.lineIndex
        guard self.ownsKind(index) else { return }
        let candidates = self.candidates(line: index)
        for frame in frames { self.lines[index].take(frame, candidates: candidates, now: now, into: &self.events) }
    }

    /// A stream has one track of each kind: it belongs to the first line that gave a frame.
    private func ownsKind(_ index: Int) -> Bool {
        switch self.lines[index].line.kind {
        case .video:
            self.videoLine = self.videoLine ?? index
            return self.videoLine == index
        case .audio:
            self.audioLine = self.audioLine ?? index
            return self.audioLine == index
        }
    }

    // MARK: The choice of encodings

    func candidates(line: Int) -> [LineReceiver.Candidate] {
        self.sources.lazy.filter { $0.lineIndex == line }.map {
            LineReceiver.Candidate(
                ssrc: $0.ssrc, order: $0.order, pixels: $0.pixels, lastFrame: $0.lastFrame,
                frameInterval: $0.frameInterval)
        }
    }

    private func choose(now: NIODeadline) {
        for index in self.lines.indices where self.lines[index].line.kind == .video {
            let own = self.sources.filter { $0.lineIndex == index }
            guard own.count > 1 else {
                own.first?.keyframes.isSuspended = false
                self.lines[index].advance(
                    candidates: self.candidates(line: index), now: now, into: &self.events)
                continue
            }
            let candidates = self.candidates(line: index)
            self.lines[index].advance(candidates: candidates, now: now, into: &self.events)
            let wanted = self.lines[index].wanted(candidates: candidates, now: now)
            for source in own {
                source.keyframes.isSuspended = self.lines[index].isIdle(
                    source.ssrc, candidates: candidates, now: now)
                if source.ssrc == wanted { source.keyframes.hurry(now: now) }
            }
            self.choiceDue = now + Self.choiceInterval
        }
        if let due = self.choiceDue, due <= now { self.choiceDue = nil }
    }

    // MARK: Sources

    /// Follows a new source, if there is room or room can be made.
    func addSource(
        _ packet: RTPPacket, line index: Int, clockRate: Int, now: NIODeadline
    ) -> SourceReceiver? {
        guard self.makeRoom(now: now) else { return nil }
        let line = self.configuration.lines[index]
        let source = SourceReceiver(
            ssrc: packet.header.ssrc, lineIndex: index, line: line,
            rid: self.encodingName(packet.header, line: line, of: .rid), order: self.sourceCount,
            first: packet.header.sequenceNumber, clockRate: clockRate, limits: self.configuration.jitter,
            reports: self.configuration.reports, session: self.session, now: now)
        self.sourceCount += 1
        if let roundTrip = self.toldRoundTrip { source.tell(roundTrip: roundTrip) }
        self.sources.append(source)
        self.routes[source.ssrc] = .media(source)
        self.takeKeptReport(for: source)
        return source
    }

    /// Whether another SSRC may be followed; the one that is silent for longest makes way, if it is silent for long.
    func makeRoom(now: NIODeadline) -> Bool {
        guard self.routes.count >= self.configuration.maximumSources else { return true }
        let forwarded = Set(self.lines.compactMap(\.forwarded))
        let silent = self.sources.filter { now - $0.lastPacket > Self.staleSource }
        // Those that nobody follows go first.
        let spare = silent.filter { !forwarded.contains($0.ssrc) }
        guard let oldest = (spare.isEmpty ? silent : spare).min(by: { $0.lastPacket < $1.lastPacket }) else {
            return false
        }
        self.remove(oldest)
        return true
    }

    private func remove(_ source: SourceReceiver) {
        self.sources.removeAll { $0 === source }
        self.routes = self.routes.filter { _, route in
            switch route {
            case .media(let other), .repair(let other): other !== source
            }
        }
        guard source.clock.isReference else { return }
        self.sources.first { $0.clock.hasReport }?.clock.isReference = true
    }
}
