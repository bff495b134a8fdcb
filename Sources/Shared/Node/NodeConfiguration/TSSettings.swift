package import NIOCore

/// MPEG transport streams over UDP: which are listened for, and what is made of them.
package struct TSSettings: Sendable, Equatable {
    package var listeners: [TSListenTarget] = []
    package var receiveBuffer = 4 << 20
    package var idleTimeout = TimeAmount.seconds(5)
    package var takeoverAfter = TimeAmount.milliseconds(500)
    package var retryAfter = TimeAmount.seconds(5)
    /// Senders of one port at one time.
    package var maximumSenders = 1_000
    package var waitsForKeyframe = true

    package init() {}
}

/// `udp://239.1.1.7:5000/live/channel7?interface=eth0`: where a transport stream comes to, and the stream that it becomes.
package struct TSListenTarget: Sendable, Hashable, CustomStringConvertible {
    /// Which audio is read where there are several.
    package enum Audio: Sendable, Hashable {
        case first
        case pid(UInt16)
        case language(String)
    }

    /// Numeric, without brackets: of this machine, or of a group.
    package let host: String
    package let ports: ClosedRange<Int>
    package let app: String
    /// May hold `[port]`, `[address]` and `[program]`.
    package let stream: String
    package private(set) var interface: String?
    package private(set) var source: String?
    package private(set) var vhost: String?
    package private(set) var program: UInt16?
    package private(set) var audio = Audio.first
    package private(set) var token: String?
    /// As the operator wrote it.
    fileprivate let text: String

    private static let expected =
        "udp://HOST:PORT/APP/STREAM?OPTIONS, such as udp://239.1.1.7:5000/live/channel7?interface=eth0"
    private static let variables: Set<Substring> = ["port", "address", "program"]
    /// Sockets of one listener.
    private static let maximumPorts = 1_000

    init(parsing text: String) throws(ValueProblem) {
        guard text.hasPrefix("udp://"), text.utf8.count <= 2_048, text.utf8.allSatisfy({ 0x21...0x7E ~= $0 }) else {
            throw .invalid(expected: Self.expected)
        }
        self.text = text
        let parts = text.dropFirst(6).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        guard let slash = parts[0].firstIndex(of: "/"), let last = parts[0].lastIndex(of: "/"), slash != last else {
            throw .invalid(expected: Self.expected)
        }
        (self.host, self.ports) = try Self.address(parts[0][..<slash])
        self.app = String(parts[0][parts[0].index(after: slash)..<last])
        let stream = parts[0][parts[0].index(after: last)...]
        guard !self.app.isEmpty, !stream.isEmpty, !self.app.contains("[") else {
            throw .invalid(expected: Self.expected)
        }
        self.stream = String(stream)
        try Self.check(stream, ports: self.ports)
        for item in parts.count > 1 ? parts[1].split(separator: "&") : [] { try self.read(item) }
        if self.program != nil, stream.contains("[program]") {
            throw .invalid(expected: "either program=NUMBER or [program] in the name, which takes them all")
        }
    }

    /// `HOST:PORT` or `HOST:FIRST-LAST`.
    private static func address(_ text: Substring) throws(ValueProblem) -> (String, ClosedRange<Int>) {
        guard let colon = text.lastIndex(of: ":") else { throw .invalid(expected: self.expected) }
        let ends = text[text.index(after: colon)...].split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count <= 2, let firstText = ends.first, let lastText = ends.last else {
            throw .invalid(expected: self.expected)
        }
        let first = try HostAndPort(parsing: "\(text[..<colon]):\(firstText)", scheme: "udp")
        let last = try HostAndPort(parsing: "\(text[..<colon]):\(lastText)", scheme: "udp")
        guard let from = first.port, let to = last.port, from > 0 else { throw .invalid(expected: self.expected) }
        guard from <= to, to - from < self.maximumPorts else {
            throw .outOfRange("1 to \(self.maximumPorts) ports, the lowest one first")
        }
        let host = first.host.isEmpty ? "0.0.0.0" : first.host
        let isNumeric = host.contains(":") || host.utf8.allSatisfy { $0 == 0x2E || 0x30...0x39 ~= $0 }
        guard isNumeric else {
            throw .invalid(expected: "an address rather than a name, such as 0.0.0.0, [::] or 239.1.1.7")
        }
        return (host, from...to)
    }

    private static func check(_ stream: Substring, ports: ClosedRange<Int>) throws(ValueProblem) {
        var rest = stream
        while let open = rest.firstIndex(of: "[") {
            guard let close = rest[open...].firstIndex(of: "]"),
                self.variables.contains(rest[rest.index(after: open)..<close])
            else { throw .invalid(expected: "[port], [address] and [program] as the only variables of the name") }
            rest = rest[rest.index(after: close)...]
        }
        guard ports.count == 1 || stream.contains("[port]") else {
            throw .invalid(expected: "a name with [port], for the ports of a range are streams of their own")
        }
    }

    private mutating func read(_ item: Substring) throws(ValueProblem) {
        let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let value = pair.count > 1 ? String(pair[1]) : ""
        guard !value.isEmpty else { throw .invalid(expected: "\(Self.expected): \(pair[0]) has no value") }
        switch pair[0] {
        case "interface": self.interface = value
        case "source": self.source = value
        case "vhost": self.vhost = value
        case "token": self.token = value
        case "program":
            guard let number = UInt16(value), number > 0 else { throw .outOfRange("program=1 to program=65535") }
            self.program = number
        case "audio":
            if let pid = UInt16(value), 16...8_190 ~= pid {
                self.audio = .pid(pid)
            } else if value.utf8.count == 3, value.utf8.allSatisfy({ 0x61...0x7A ~= $0 }) {
                self.audio = .language(value)
            } else {
                throw .invalid(expected: "audio=PID, from 16 to 8190, or audio=LANGUAGE, such as eng")
            }
        default: throw .invalid(expected: "interface, source, program, audio, vhost and token as the only options")
        }
    }

    /// Without options, some of which are secret.
    package var description: String { String(self.text.prefix { $0 != "?" }) }
}

extension SettingCodec where Value == [TSListenTarget] {
    static var tsListeners: Self {
        .list("UDP URLs", isSecret: true) { (text) throws(ValueProblem) in
            try TSListenTarget(parsing: text)
        } write: {
            $0.text
        }
    }
}

/// The keys of transport streams over UDP.
extension SettingSchema {
    static let tsSection = Section(
        name: "ts", documentation: "Publishing by MPEG transport streams over UDP, to a port or to a group.",
        roles: [.origin, .edge],
        fields: [
            .init(
                "ts.listeners", \.ts.listeners, .tsListeners,
                "What is listened for: `udp://HOST:PORT/APP/STREAM`. A multicast group is joined, on `?interface=`, from `?source=` alone if that is named; `?program=` and `?audio=` (an identifier or a language) choose of several, `?vhost=` and `?token=` are as in other URLs. `[port]`, `[address]` and `[program]` in the name make a stream of each port of a range (`:9000-9099`), sender or program. Datagrams may have headers of RTP."
            ),
            .init(
                "ts.receive_buffer", \.ts.receiveBuffer, .size((64 << 10)...(1 << 30)),
                "The receive buffer of each socket; the kernel's `net.core.rmem_max` bounds it."),
            .init(
                "ts.idle_timeout", \.ts.idleTimeout, .duration(.milliseconds(100) ... .hours(1)),
                "A sender that is silent for longer has left."),
            .init(
                "ts.takeover_after", \.ts.takeoverAfter, .duration(.milliseconds(10) ... .hours(1)),
                "A sender that is silent for longer may be replaced by another that sends to the same stream."),
            .init(
                "ts.retry_after", \.ts.retryAfter, .duration(.milliseconds(100) ... .hours(1)),
                "How long a sender that may not publish, or was ended, is ignored before it is asked for again."),
            .init(
                "ts.maximum_senders", \.ts.maximumSenders, .integer(1...100_000), "Senders of one port at one time."),
            .init(
                "ts.wait_for_keyframe", \.ts.waitsForKeyframe, .flag,
                "Whether pictures behind a loss are left out up to the next keyframe; not for sources without keyframes."
            ),
        ])
}
