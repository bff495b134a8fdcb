import Media
import NIOCore
import RTP

extension RTPReceiver {
    /// Finds the source of a packet, or makes one. `nil`: the packet belongs to nothing that was agreed on.
    ///
    /// Spec: RFC 8843 §9.2, RFC 8852, RFC 8853.
    func route(_ packet: RTPPacket, line told: Int?, now: NIODeadline) -> Route? {
        let header = packet.header
        if let known = self.routes[header.ssrc] {
            guard case .media(let source) = known,
                case .retransmission = source.line.payloadTypes[header.payloadType]
            else { return known }
            // A source turned out to be one of retransmissions: its own numbers say nothing of the original's.
            return nil
        }
        guard let index = self.lineIndex(header, told: told) else { return nil }
        let line = self.configuration.lines[index]
        switch line.payloadTypes[header.payloadType] {
        case nil: return nil
        case .retransmission:
            guard let source = self.repairedSource(header, line: index), self.makeRoom(now: now) else { return nil }
            let route = Route.repair(of: source)
            self.routes[header.ssrc] = route
            source.repairSSRC = header.ssrc
            return route
        case .redundancy:
            return self.addSource(packet, line: index, clockRate: self.clockRate(of: index), now: now)
                .map(Route.media)
        case .media(let payload):
            return self.addSource(packet, line: index, clockRate: payload.clockRate, now: now).map(Route.media)
        }
    }

    /// The value of one of the extensions that name an encoding.
    func encodingName(_ header: RTPHeader, line: RTPReceivedLine, of uri: RTPExtensionURI) -> String? {
        guard let id = line.extensions[uri], let value = header.extensions?.value(id: id), value.readableBytes > 0
        else { return nil }
        return String(decoding: value.readableBytesView, as: UTF8.self)
    }

    private func lineIndex(_ header: RTPHeader, told: Int?) -> Int? {
        let lines = self.configuration.lines
        if let told { return lines.indices.contains(told) ? told : nil }
        if let signalled = self.signalledLines[header.ssrc] { return signalled }
        if header.extensions != nil {
            for (index, line) in lines.enumerated() {
                guard let mid = line.mid, self.encodingName(header, line: line, of: .mid) == mid else { continue }
                return index
            }
        }
        let fitting = lines.indices.filter { lines[$0].payloadTypes[header.payloadType] != nil }
        return fitting.count == 1 ? fitting[0] : nil
    }

    /// The source that a new retransmission source repairs; `nil` while that cannot be told.
    private func repairedSource(_ header: RTPHeader, line index: Int) -> SourceReceiver? {
        if let signalled = self.signalledRepairs[header.ssrc] {
            return self.sources.first { $0.ssrc == signalled }
        }
        let own = self.sources.filter { $0.lineIndex == index }
        let line = self.configuration.lines[index]
        if let name = self.encodingName(header, line: line, of: .repairedRID) {
            return own.last { $0.rid == name }
        }
        // Several sources without names: the one that waits for the packet could be guessed, wrongly at times.
        let alive = own.filter { !$0.hasEnded }
        return alive.count == 1 ? alive[0] : self.lines[index].isSimulcast ? nil : alive.last
    }

    /// The clock of a line's first codec, for packets that do not say which it is.
    private func clockRate(of index: Int) -> Int {
        let line = self.configuration.lines[index]
        let rates = line.payloadTypes.values.compactMap { use -> Int? in
            if case .media(let payload) = use { payload.clockRate } else { nil }
        }
        return rates.max() ?? (line.kind == .video ? 90_000 : 48_000)
    }
}
