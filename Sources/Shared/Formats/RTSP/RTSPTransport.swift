/// One way in which the packets of a track may travel: an entry of `Transport`. Spec: RFC 2326 §12.39.
package struct RTSPTransport: Sendable, Hashable {
    package enum Lower: Sendable, Hashable {
        case udp
        /// Between the messages of the connection.
        case tcp
    }

    package enum Mode: String, Sendable, Hashable {
        case play = "PLAY"
        case record = "RECORD"
    }

    /// Two numbers, for RTP and RTCP. One alone stands for itself and the next.
    package struct Pair: Sendable, Hashable {
        package var rtp: Int
        package var rtcp: Int

        package init(_ rtp: Int, _ rtcp: Int) {
            self.rtp = rtp
            self.rtcp = rtcp
        }
    }

    package var lower: Lower
    /// The profile, such as `RTP/AVP`, `RTP/AVPF` or `RTP/SAVP`.
    package var profile: String
    package var isMulticast: Bool
    package var interleaved: Pair?
    package var clientPorts: Pair?
    package var serverPorts: Pair?
    package var source: String?
    package var destination: String?
    package var ssrc: UInt32?
    package var mode: Mode?

    package init(_ lower: Lower, profile: String = "RTP/AVP", isMulticast: Bool = false) {
        self.lower = lower
        self.profile = profile
        self.isMulticast = isMulticast
    }

    /// The most entries of a header that are read.
    package static let maximumEntries = 16

    /// Reads a header's value: the entries in the client's order of preference. Parameters that are not known are passed
    /// over. Errors: `malformedTransport`.
    package static func parse(_ text: String) throws(RTSPError) -> [RTSPTransport] {
        var transports: [RTSPTransport] = []
        let entries = text.split(separator: ",", omittingEmptySubsequences: true)
        guard !entries.isEmpty else { throw .malformedTransport(entry: 0) }
        guard entries.count <= self.maximumEntries else { throw .malformedTransport(entry: self.maximumEntries) }
        for (index, entry) in entries.enumerated() {
            guard let transport = RTSPTransport(entry: entry) else { throw .malformedTransport(entry: index) }
            transports.append(transport)
        }
        return transports
    }

    private init?(entry: Substring) {
        let fields = entry.split(separator: ";", omittingEmptySubsequences: true).map(Self.trimmed)
        guard let specification = fields.first else { return nil }
        let parts = specification.split(separator: "/").map { $0.uppercased() }
        guard parts.count >= 2, parts[0] == "RTP" else { return nil }
        self.init(.udp, profile: "RTP/\(parts[1])")
        if parts.count > 2 {
            switch parts[2] {
            case "UDP": self.lower = .udp
            case "TCP": self.lower = .tcp
            default: return nil
            }
        }
        for field in fields.dropFirst() {
            let pair = field.split(separator: "=", maxSplits: 1).map(Self.trimmed)
            guard let name = pair.first?.lowercased() else { continue }
            guard self.set(name, to: pair.count > 1 ? Self.unquoted(pair[1]) : "") else { return nil }
        }
    }

    /// Returns false for a value that is not what its parameter may be.
    private mutating func set(_ name: String, to value: String) -> Bool {
        switch name {
        case "multicast": self.isMulticast = true
        case "unicast": self.isMulticast = false
        case "interleaved":
            guard let pair = Self.pair(value, maximum: 255) else { return false }
            self.interleaved = pair
        case "client_port":
            guard let pair = Self.pair(value, maximum: 65_535), pair.rtp > 0 else { return false }
            self.clientPorts = pair
        case "server_port":
            guard let pair = Self.pair(value, maximum: 65_535), pair.rtp > 0 else { return false }
            self.serverPorts = pair
        case "source": self.source = value.isEmpty ? nil : value
        case "destination": self.destination = value.isEmpty ? nil : value
        case "ssrc":
            // Eight digits by the standard; some send fewer, or decimal ones that do not fit. It is only a hint.
            self.ssrc = UInt32(value.prefix { $0 != "/" }, radix: 16)
        case "mode":
            // `receive` is a word of old publishers.
            switch value.uppercased() {
            case "PLAY": self.mode = .play
            case "RECORD", "RECEIVE": self.mode = .record
            default: break
            }
        default: break
        }
        return true
    }

    private static func trimmed(_ text: Substring) -> String {
        text.split(separator: " ", omittingEmptySubsequences: true).joined(separator: " ")
    }

    private static func unquoted(_ text: String) -> String {
        text.count >= 2 && text.hasPrefix("\"") && text.hasSuffix("\"") ? String(text.dropFirst().dropLast()) : text
    }

    private static func pair(_ text: String, maximum: Int) -> Pair? {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let first = self.number(parts[0], maximum: maximum) else { return nil }
        guard parts.count == 2 else { return Pair(first, min(first + 1, maximum)) }
        guard let second = self.number(parts[1], maximum: maximum) else { return nil }
        return Pair(first, second)
    }

    private static func number(_ text: Substring, maximum: Int) -> Int? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }), let value = Int(text) else { return nil }
        return value <= maximum ? value : nil
    }

    /// The entry's text.
    package var text: String {
        var text = self.profile + (self.lower == .tcp ? "/TCP" : "") + (self.isMulticast ? ";multicast" : ";unicast")
        if let source = self.source { text += ";source=\(source)" }
        if let destination = self.destination { text += ";destination=\(destination)" }
        if let pair = self.interleaved { text += ";interleaved=\(pair.rtp)-\(pair.rtcp)" }
        if let pair = self.clientPorts { text += ";client_port=\(pair.rtp)-\(pair.rtcp)" }
        if let pair = self.serverPorts { text += ";server_port=\(pair.rtp)-\(pair.rtcp)" }
        if let ssrc = self.ssrc {
            let digits = String(ssrc, radix: 16, uppercase: true)
            text += ";ssrc=" + String(repeating: "0", count: 8 - digits.count) + digits
        }
        if let mode = self.mode { text += ";mode=\"\(mode.rawValue)\"" }
        return text
    }
}

/// `Session`: the id, and how long a silent session lives. Spec: RFC 2326 §12.37.
package struct RTSPSessionHeader: Sendable, Hashable {
    package var id: String
    /// Seconds; 60 where the header says nothing.
    package var timeout: Int

    package init(id: String, timeout: Int = 60) {
        self.id = id
        self.timeout = timeout
    }

    /// Reads a header's value; `nil` without an id.
    package init?(parsing text: String) {
        let parts = text.split(separator: ";", omittingEmptySubsequences: true)
        guard let id = parts.first?.split(separator: " ").first else { return nil }
        self.init(id: String(id))
        for part in parts.dropFirst() {
            // A lone "=" leaves nothing.
            let pair = part.split(separator: "=", maxSplits: 1)
            guard pair.count == 2, let name = pair[0].split(separator: " ").first, name.lowercased() == "timeout",
                let digits = pair[1].split(separator: " ").first, let value = Int(digits), (1...86_400).contains(value)
            else { continue }
            self.timeout = value
        }
    }

    /// The header's value.
    package var text: String { "\(self.id);timeout=\(self.timeout)" }
}

/// One entry of `RTP-Info`: with which packet a track of a range begins. Spec: RFC 2326 §12.33.
package struct RTPInfo: Sendable, Hashable {
    package var url: String
    package var sequence: UInt16?
    package var timestamp: UInt32?

    package init(url: String, sequence: UInt16? = nil, timestamp: UInt32? = nil) {
        self.url = url
        self.sequence = sequence
        self.timestamp = timestamp
    }

    /// Reads a header's value. Senders write much that is wrong, so that what cannot be read is left out.
    package static func parse(_ text: String) -> [RTPInfo] {
        text.split(separator: ",").prefix(RTSPTransport.maximumEntries).compactMap { entry in
            var info: RTPInfo?
            var (sequence, timestamp): (UInt16?, UInt32?) = (nil, nil)
            for field in entry.split(separator: ";") {
                let pair = field.split(separator: "=", maxSplits: 1).map { $0.split(separator: " ").joined() }
                guard pair.count == 2 else { continue }
                switch pair[0].lowercased() {
                case "url": info = RTPInfo(url: pair[1])
                case "seq": sequence = UInt16(pair[1])
                case "rtptime": timestamp = UInt32(pair[1])
                default: break
                }
            }
            info?.sequence = sequence
            info?.timestamp = timestamp
            return info
        }
    }

    /// The entry's text.
    package var text: String {
        var text = "url=\(self.url)"
        if let sequence = self.sequence { text += ";seq=\(sequence)" }
        if let timestamp = self.timestamp { text += ";rtptime=\(timestamp)" }
        return text
    }
}
