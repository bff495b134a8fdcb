package import NIOCore
package import SRTAccess

/// SRT: the port that all who publish and play share, the options of its sockets, and calls to other servers.
package struct SRTSettings: Sendable, Equatable {
    /// What a stream id means that names no mode.
    package enum DefaultMode: String, Sendable, CaseIterable {
        case publish
        case request
    }

    package var isEnabled = true
    /// UDP. `::` is every IPv6 address and no IPv4 one.
    package var listen = [ListenAddress(host: "0.0.0.0", port: 10_080)]
    package var defaultApp = "live"
    /// For clients that send no stream id; empty turns them away.
    package var defaultStreamID = "#!::r=live/livestream,m=publish"
    package var defaultMode = DefaultMode.request
    /// Publishers, viewers and calls at one time.
    package var maximumSessions = 10_000
    /// Threads that give players their packets.
    package var threads = 1
    package var firstMediaTimeout = TimeAmount.seconds(10)
    package var idleTimeout = TimeAmount.seconds(30)
    package var passphrase = Secret("")
    package var keyLength = SRTKeyLength.peer
    package var options = Options()
    /// Streams that are fetched from other servers.
    package var pulls: [SRTPullTarget] = []

    package init() {}

    /// Options of sockets, by the names of the library where nothing else is said.
    package struct Options: Sendable, Equatable {
        /// Of both directions, unless one of the next two is longer.
        package var latency = TimeAmount.milliseconds(120)
        package var receiveLatency = TimeAmount.zero
        package var peerLatency = TimeAmount.zero
        package var tooLateDrop = true
        package var timestamps = true
        package var periodicNAK = true
        package var mss = 1_500
        package var payloadSize = 1_316
        /// Bytes a second; -1: no limit, 0: by the input.
        package var maximumBandwidth = -1
        package var inputBandwidth = 0
        package var overheadPercent = 25
        package var sendBuffer = 12 << 20
        package var receiveBuffer = 12 << 20
        package var udpSendBuffer = 1 << 20
        package var udpReceiveBuffer = 8 << 20
        /// Packets.
        package var flightWindow = 25_600
        package var connectTimeout = TimeAmount.seconds(3)
        package var peerIdleTimeout = TimeAmount.seconds(10)
        package var reorderTolerance = 0
        package var typeOfService = 0xB8
        package var timeToLive = 64
        package var packetFilter = ""
        package var enforcesEncryption = true

        package init() {}
    }
}

/// Bits of an AES key.
package enum SRTKeyLength: String, Sendable, CaseIterable {
    /// As the peer has it, else 128.
    case peer
    case aes128
    case aes192
    case aes256

    /// As the library counts it; 0 leaves it to the peer.
    package var bytes: Int {
        switch self {
        case .peer: 0
        case .aes128: 16
        case .aes192: 24
        case .aes256: 32
        }
    }
}

/// `live/camera=srt://192.0.2.7:9000?latency=300`: a stream that is fetched from another server, and where from.
package struct SRTPullTarget: Sendable, Hashable, CustomStringConvertible {
    /// The stream here, with the parameters that rules and hooks may want of its publisher.
    package let stream: SRTStreamID
    package let url: SRTURL
    fileprivate let text: String

    init(parsing text: String) throws(ValueProblem) {
        let expected = "APP/STREAM=srt://HOST:PORT?OPTIONS, such as live/camera=srt://192.0.2.7:9000?latency=300"
        guard let mark = text.firstRange(of: "=srt://") else { throw .invalid(expected: expected) }
        let name = text[..<mark.lowerBound]
        guard name.contains("/"), !name.hasPrefix("#") else { throw .invalid(expected: expected) }
        var defaults = SRTStreamID.Defaults()
        defaults.mode = .publish
        do throws(SRTStreamIDError) {
            self.stream = try SRTStreamID(parsing: Array(name.utf8), defaults: defaults)
        } catch {
            throw .invalid(expected: "\(expected): \(error)")
        }
        self.url = try SRTURL(setting: String(text[text.index(after: mark.lowerBound)...]), expected: expected)
        self.text = text
    }

    /// Without options, some of which are secret.
    package var description: String { "\(self.stream.app)/\(self.stream.name)=\(self.url.printable)" }
}

/// `srt://backup.example:10080?streamid=#!::r=[app]/[stream],m=publish`: where a stream is sent to, too.
package struct SRTPushTemplate: Sendable, Hashable, CustomStringConvertible {
    /// As the operator wrote it.
    fileprivate let text: String

    init(parsing text: String) throws(ValueProblem) {
        self.text = text
        let expected = "srt://HOST:PORT?OPTIONS, with [vhost], [app] and [stream] for the stream's own"
        let url = try SRTURL(setting: self.filled(vhost: "v", app: "a", stream: "s"), expected: expected)
        guard url.mode != .listener else {
            throw .invalid(expected: "\(expected), and not in the mode listener: others call this server to play")
        }
    }

    private func filled(vhost: String, app: String, stream: String) -> String {
        var result = ""
        var rest = self.text[...]
        while let open = rest.firstIndex(of: "["), let close = rest[open...].firstIndex(of: "]") {
            result += rest[..<open]
            switch rest[rest.index(after: open)..<close] {
            case "vhost": result += vhost
            case "app": result += app
            case "stream": result += stream
            case let other: result += "[\(other)]"
            }
            rest = rest[rest.index(after: close)...]
        }
        return result + rest
    }

    /// Where one stream goes; `nil` if its names make the URL too long.
    package func url(vhost: String, app: String, stream: String) -> SRTURL? {
        try? SRTURL(parsing: self.filled(vhost: vhost, app: app, stream: stream))
    }

    /// Without options, some of which are secret.
    package var description: String { String(self.text.prefix { $0 != "?" }) }
}

extension SRTURL {
    fileprivate init(setting text: String, expected: String) throws(ValueProblem) {
        do throws(SRTURLError) {
            try self.init(parsing: text)
        } catch {
            throw .invalid(expected: "\(expected): \(error)")
        }
    }
}

extension StreamSettings {
    /// How a stream is taken from and given to SRT peers.
    package struct SRT: Sendable, Equatable {
        package var isEnabled = true
        /// Empty: that of `srt`.
        package var passphrase = Secret("")
        /// Of single streams; the last one of a name counts.
        package var passphrases: [SRTStreamPassphrase] = []
        /// Zero: that of `srt`.
        package var latency = TimeAmount.zero
        /// Players of a stream that is published here by SRT get its packets as they came.
        package var passesThrough = false
        /// The program of a publisher's stream that is read; zero: the first.
        package var program = 0
        /// The packet identifier of its audio, or a language of three letters; empty: the first.
        package var audio = ""
        package var waitsForKeyframe = true
        package var pushes: [SRTPushTemplate] = []

        package init() {}

        /// What the clients of the stream with this name need; empty: that of `srt`.
        package func passphrase(of name: String) -> Secret {
            self.passphrases.last { $0.stream == name }?.passphrase ?? self.passphrase
        }
    }
}

/// `door=0123456789`: the passphrase of one stream.
package struct SRTStreamPassphrase: Sendable, Equatable {
    /// The stream's name, without vhost and app.
    package let stream: String
    package let passphrase: Secret

    init(parsing text: String) throws(ValueProblem) {
        guard let mark = text.firstIndex(of: "="), mark != text.startIndex else {
            throw .invalid(expected: "STREAM=PASSPHRASE")
        }
        self.stream = String(text[..<mark])
        let rest = String(text[text.index(after: mark)...])
        self.passphrase = try SettingCodec<Secret>.checkedPassphrase(rest, isNeeded: true)
    }

    fileprivate var text: String { "\(self.stream)=\(self.passphrase.value)" }
}

extension SettingCodec where Value == Secret {
    /// 10 to 79 characters, or none.
    static var passphrase: Self {
        .scalar("passphrase", isSecret: true) { (text) throws(ValueProblem) in
            try Self.checkedPassphrase(text, isNeeded: false)
        } write: {
            $0.value
        }
    }

    fileprivate static func checkedPassphrase(_ text: String, isNeeded: Bool) throws(ValueProblem) -> Secret {
        let isFit = (text.isEmpty && !isNeeded) || 10...79 ~= text.utf8.count
        guard isFit, text.utf8.allSatisfy({ 0x21...0x7E ~= $0 }) else {
            let orNone = isNeeded ? "" : ", or none"
            throw .invalid(expected: "10 to 79 printable ASCII characters without spaces\(orNone)")
        }
        return Secret(text)
    }
}

extension SettingCodec where Value == [SRTStreamPassphrase] {
    static var srtPassphrases: Self {
        .list("STREAM=PASSPHRASE", isSecret: true) { (text) throws(ValueProblem) in
            try SRTStreamPassphrase(parsing: text)
        } write: {
            $0.text
        }
    }
}

extension SettingCodec where Value == [SRTPullTarget] {
    static var srtPulls: Self {
        .list("APP/STREAM=SRT URL", isSecret: true) { (text) throws(ValueProblem) in
            try SRTPullTarget(parsing: text)
        } write: {
            $0.text
        }
    }
}

extension SettingCodec where Value == [SRTPushTemplate] {
    static var srtPushes: Self {
        .list("SRT URLs", isSecret: true) { (text) throws(ValueProblem) in
            try SRTPushTemplate(parsing: text)
        } write: {
            $0.text
        }
    }
}

extension SettingCodec where Value == String {
    /// A packet identifier, a language of three letters, or nothing.
    static var audioChoice: Self {
        .scalar("PID or language") { (text) throws(ValueProblem) in
            let isLanguage = text.utf8.count == 3 && text.utf8.allSatisfy { 0x61...0x7A ~= $0 }
            let isPID = Int(text).map { 16...8_190 ~= $0 } ?? false
            guard text.isEmpty || isLanguage || isPID else {
                throw .invalid(expected: "a packet identifier from 16 to 8190, a language such as eng, or nothing")
            }
            return text
        } write: {
            $0
        }
    }

    /// A stream id of the access control form, or nothing.
    static var srtStreamID: Self {
        .scalar("stream id") { (text) throws(ValueProblem) in
            guard !text.isEmpty else { return text }
            do throws(SRTStreamIDError) {
                _ = try SRTStreamID(parsing: Array(text.utf8))
            } catch {
                throw .invalid(expected: "a stream id such as #!::r=live/livestream,m=publish: \(error)")
            }
            return text
        } write: {
            $0
        }
    }
}
