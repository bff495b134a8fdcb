import NIOCore
import RTP

extension RTPReceiver {
    /// Sources that were not heard for so long are not reported on.
    private static let reportedSpan = TimeAmount.seconds(10)
    private static let maximumEarlyReports = 8

    // MARK: From the sender

    func receive(rtcp packets: [RTCPPacket], now: NIODeadline) {
        for packet in packets {
            switch packet {
            case .senderReport(let report):
                guard case .media(let source) = self.routes[report.ssrc] else {
                    self.keep(report, at: now)
                    continue
                }
                source.lastSenderReport = (report.ntpTime.compact, now)
                self.align(source, ntp: report.ntpTime.value, timestamp: report.rtpTimestamp, now: now)
            case .goodbye(let goodbye):
                for ssrc in goodbye.ssrcs {
                    if case .media(let source) = self.routes[ssrc] { source.end() }
                }
            default: continue
            }
        }
    }

    /// The report of a source that was not heard yet: senders that speak no SSRC beforehand, as by RTSP, send it in front
    /// of their first packet.
    private func keep(_ report: RTCPSenderReport, at now: NIODeadline) {
        guard self.routes[report.ssrc] == nil else { return }
        self.earlyReports.removeAll { $0.report.ssrc == report.ssrc }
        if self.earlyReports.count >= Self.maximumEarlyReports { self.earlyReports.removeFirst() }
        self.earlyReports.append((report, now))
    }

    /// Gives a new source the report that came before it.
    func takeKeptReport(for source: SourceReceiver) {
        guard let index = self.earlyReports.firstIndex(where: { $0.report.ssrc == source.ssrc }) else { return }
        let (report, arrival) = self.earlyReports.remove(at: index)
        source.lastSenderReport = (report.ntpTime.compact, arrival)
        self.align(source, ntp: report.ntpTime.value, timestamp: report.rtpTimestamp, now: arrival)
    }

    /// A report that came before the source's first frame counts once there is one.
    func applyEarlyReport(of source: SourceReceiver) {
        guard let early = source.clock.takeEarlyReport() else { return }
        self.align(source, ntp: early.ntp, timestamp: early.timestamp, now: source.lastPacket)
    }

    private func align(_ source: SourceReceiver, ntp: UInt64, timestamp: UInt32, now: NIODeadline) {
        if !source.clock.isReference, source.clock.hasReport,
            let reference = self.sources.first(where: { $0.clock.isReference }),
            now - reference.lastPacket > Self.reportedSpan
        {
            reference.clock.isReference = false
            source.clock.isReference = true
        }
        switch source.clock.report(ntp: ntp, timestamp: timestamp, session: self.session) {
        case .ignored, .aligned: break
        case .shiftOthers(let ticks):
            for other in self.sources where other !== source { other.clock.shift(by: ticks) }
        }
    }

    // MARK: To the sender

    /// All that is due, reports first.
    func takeControl(now: NIODeadline) -> [RTCPPacket] {
        var packets: [RTCPPacket] = []
        if now >= self.reportDue {
            self.reportDue = now + self.configuration.reports.reportInterval
            if !self.sources.isEmpty { packets += self.report(now: now) }
        }
        let hasReport = !packets.isEmpty
        for source in self.sources {
            let missing = source.takeNacks(now: now)
            if !missing.isEmpty {
                packets.append(
                    .nack(
                        RTCPNack(
                            senderSSRC: self.configuration.localSSRC, mediaSSRC: source.ssrc,
                            sequenceNumbers: missing)))
            }
            if let request = self.takeKeyframeRequest(of: source, now: now) { packets.append(request) }
        }
        if let due = self.feedbackDue, now >= due {
            self.feedbackDue = nil
            packets += self.takeFeedback().map(RTCPPacket.transportFeedback)
        }
        if !packets.isEmpty, !hasReport, !self.configuration.reports.allowsReducedSize {
            packets.insert(contentsOf: self.header(reports: []), at: 0)
        }
        return packets
    }

    private func header(reports: [RTCPReportBlock]) -> [RTCPPacket] {
        let local = self.configuration.localSSRC
        var packets = [RTCPPacket.receiverReport(RTCPReceiverReport(ssrc: local, reports: reports))]
        if let name = self.configuration.canonicalName {
            packets.append(.sourceDescription(RTCPSourceDescription(ssrc: local, cname: name)))
        }
        return packets
    }

    private func report(now: NIODeadline) -> [RTCPPacket] {
        let active = self.sources.filter { !$0.hasEnded && now - $0.lastPacket < Self.reportedSpan }
        var packets = self.header(reports: active.prefix(31).map { $0.takeReport(now: now) })
        if let limit = self.configuration.reports.maximumBitsPerSecond {
            let ssrcs = active.filter { $0.isVideo && $0.line.feedback.contains(.remb) }.map(\.ssrc)
            if !ssrcs.isEmpty {
                packets.append(
                    .receiverEstimatedMaximumBitrate(
                        RTCPReceiverEstimate(
                            senderSSRC: self.configuration.localSSRC, bitsPerSecond: UInt64(max(0, limit)),
                            ssrcs: ssrcs)))
            }
        }
        return packets
    }

    private func takeKeyframeRequest(of source: SourceReceiver, now: NIODeadline) -> RTCPPacket? {
        let feedback = source.line.feedback
        guard !source.hasEnded, !feedback.isDisjoint(with: [.pli, .fir]), source.takeKeyframeRequest(now: now) else {
            return nil
        }
        let local = self.configuration.localSSRC
        if !feedback.contains(.pli) {
            self.fullIntraSequence &+= 1
            return .fullIntraRequest(
                RTCPFullIntraRequest(
                    senderSSRC: local,
                    entries: [.init(ssrc: source.ssrc, sequenceNumber: self.fullIntraSequence)]))
        }
        return .pictureLossIndication(senderSSRC: local, mediaSSRC: source.ssrc)
    }

    private func takeFeedback() -> [TransportFeedback] {
        guard let window = self.arrivals.take() else { return [] }
        var packets = TransportFeedback.feedback(
            on: window.arrivals, senderSSRC: self.configuration.localSSRC,
            mediaSSRC: self.sources.last?.ssrc ?? 0, firstCount: self.feedbackCount)
        self.feedbackCount &+= UInt8(truncatingIfNeeded: packets.count)
        // What is missing between two rounds belongs to the later one; the statuses' room allows it.
        if window.missingInFront > 0, !packets.isEmpty {
            packets[0].baseSequenceNumber &-= UInt16(truncatingIfNeeded: window.missingInFront)
            packets[0].statuses.insert(
                contentsOf: repeatElement(.notReceived, count: window.missingInFront), at: 0)
        }
        return packets
    }
}
