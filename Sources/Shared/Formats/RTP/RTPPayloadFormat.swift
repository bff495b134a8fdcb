package import Media

/// How a codec is put into RTP payloads, with what the SDP negotiated of it.
package enum RTPPayloadFormat: Sendable, Hashable {
    /// RFC 6184. In mode 0 each NAL unit is a packet; in mode 1 units are also aggregated and fragmented. Readers take
    /// the structures of every mode, in the order in which they come.
    case h264(packetizationMode: Int)
    /// RFC 7798. Decoding order numbers are there when `sprop-max-don-diff` is above 0; we never send them.
    case hevc(usesDecodingOrderNumbers: Bool)
    /// RFC 7741.
    case vp8
    /// RFC 9628.
    case vp9
    /// RTP Payload Format For AV1, version 1.0.
    case av1
    /// RFC 7587.
    case opus
    /// RFC 3551 §4.5.14.
    case g711ALaw(channels: Int)
    case g711MuLaw(channels: Int)
    /// RFC 3640.
    case aac(AACPayloadLayout)
    /// AAC as `MP4A-LATM` without configuration in band, which is read and never sent. Spec: RFC 6416 §6.
    case latm(clockRate: Int, subframes: Int)
    /// MP3. Spec: RFC 2250 §3.5.
    case mpegAudio

    /// The usual form of a codec on `clockRate`; `nil` for codecs without a payload format here.
    ///
    /// `clockRate` is AAC's sample rate and nothing else's; `channels` concerns G.711.
    package init?(codec: Codec, clockRate: Int = 48_000, channels: Int = 1) {
        switch codec {
        case .h264: self = .h264(packetizationMode: 1)
        case .hevc: self = .hevc(usesDecodingOrderNumbers: false)
        case .vp8: self = .vp8
        case .vp9: self = .vp9
        case .av1: self = .av1
        case .opus: self = .opus
        case .g711ALaw: self = .g711ALaw(channels: max(channels, 1))
        case .g711MuLaw: self = .g711MuLaw(channels: max(channels, 1))
        case .aac: self = .aac(AACPayloadLayout(clockRate: clockRate))
        case .mp3: self = .mpegAudio
        case .flac, .ac3, .eac3, .speex: return nil
        }
    }

    /// The format that an `rtpmap` and its `fmtp` describe; `nil` for one that is not ours.
    ///
    /// `formatParameters` is the text of `fmtp` behind the payload type: `key=value` pairs with semicolons between.
    package init?(encodingName: String, clockRate: Int, channels: Int = 1, formatParameters: String = "") {
        let parameters = Self.parameters(formatParameters)
        func number(_ name: String) -> Int? { parameters[name].flatMap { Int($0) } }
        switch encodingName.lowercased() {
        case "h264": self = .h264(packetizationMode: number("packetization-mode") ?? 0)
        case "h265": self = .hevc(usesDecodingOrderNumbers: (number("sprop-max-don-diff") ?? 0) > 0)
        case "vp8": self = .vp8
        case "vp9": self = .vp9
        case "av1": self = .av1
        case "opus": self = .opus
        case "pcma": self = .g711ALaw(channels: max(channels, 1))
        case "pcmu": self = .g711MuLaw(channels: max(channels, 1))
        case "mpeg4-generic":
            guard let layout = AACPayloadLayout(clockRate: clockRate, parameters: parameters) else { return nil }
            self = .aac(layout)
        case "mp4a-latm":
            // §6.3: where `cpresent` is not 0, the configuration comes with the frames.
            guard parameters["cpresent"] == "0", clockRate > 0,
                let first = UInt8(parameters["config"]?.prefix(2) ?? "", radix: 16), first & 0xC0 == 0x40
            else { return nil }
            self = .latm(clockRate: clockRate, subframes: Int(first & 0x3F) + 1)
        case "mpa": self = .mpegAudio
        default: return nil
        }
    }

    package var codec: Codec {
        switch self {
        case .h264: .h264
        case .hevc: .hevc
        case .vp8: .vp8
        case .vp9: .vp9
        case .av1: .av1
        case .opus: .opus
        case .g711ALaw: .g711ALaw
        case .g711MuLaw: .g711MuLaw
        case .aac, .latm: .aac
        case .mpegAudio: .mp3
        }
    }

    package var kind: MediaKind { self.codec.kind }

    /// Ticks of the RTP timestamp in a second.
    package var clockRate: Int {
        switch self {
        case .h264, .hevc, .vp8, .vp9, .av1, .mpegAudio: 90_000
        case .opus: 48_000
        case .g711ALaw, .g711MuLaw: 8_000
        case .aac(let layout): layout.clockRate
        case .latm(let clockRate, _): clockRate
        }
    }

    /// The name in an `rtpmap`.
    package var encodingName: String {
        switch self {
        case .h264: "H264"
        case .hevc: "H265"
        case .vp8: "VP8"
        case .vp9: "VP9"
        case .av1: "AV1"
        case .opus: "opus"
        case .g711ALaw: "PCMA"
        case .g711MuLaw: "PCMU"
        case .aac: "mpeg4-generic"
        case .latm: "MP4A-LATM"
        case .mpegAudio: "MPA"
        }
    }

    /// Names in lower case. The first of a repeated name counts.
    private static func parameters(_ text: String) -> [String: String] {
        var result: [String: String] = [:]
        for pair in text.split(separator: ";") {
            let parts = pair.split(separator: "=", maxSplits: 1).map { $0.split(separator: " ").joined(separator: " ") }
            guard parts.count == 2 else { continue }
            result[parts[0].lowercased()] = result[parts[0].lowercased()] ?? parts[1]
        }
        return result
    }
}

/// How AAC access units and their headers lie in payloads. Field widths are in bits. Spec: RFC 3640 §3.2.1 and §4.1.
package struct AACPayloadLayout: Sendable, Hashable {
    /// The sample rate.
    package var clockRate: Int
    package var sizeLength: Int
    package var indexLength: Int
    package var indexDeltaLength: Int
    package var ctsDeltaLength: Int
    package var dtsDeltaLength: Int
    package var hasRandomAccessIndication: Bool
    package var streamStateLength: Int
    package var auxiliarySizeLength: Int
    /// Samples of one access unit.
    package var constantDuration: Int
    /// Bytes of each access unit; `nil` when headers tell.
    package var constantSize: Int?

    /// The high bit-rate mode, `AAC-hbr` (§3.3.6).
    package init(clockRate: Int, constantDuration: Int = 1024) {
        self.clockRate = clockRate
        self.sizeLength = 13
        self.indexLength = 3
        self.indexDeltaLength = 3
        self.ctsDeltaLength = 0
        self.dtsDeltaLength = 0
        self.hasRandomAccessIndication = false
        self.streamStateLength = 0
        self.auxiliarySizeLength = 0
        self.constantDuration = constantDuration
        self.constantSize = nil
    }

    /// Of an `fmtp` with names in lower case; `nil` when a value is no width, or when nothing tells an access unit's
    /// size.
    init?(clockRate: Int, parameters: [String: String]) {
        self.init(clockRate: clockRate)
        var isValid = clockRate > 0
        func width(_ name: String) -> Int {
            guard let text = parameters[name] else { return 0 }
            guard let value = Int(text), (0...32).contains(value) else {
                isValid = false
                return 0
            }
            return value
        }
        self.sizeLength = width("sizelength")
        self.indexLength = width("indexlength")
        self.indexDeltaLength = width("indexdeltalength")
        self.ctsDeltaLength = width("ctsdeltalength")
        self.dtsDeltaLength = width("dtsdeltalength")
        self.hasRandomAccessIndication = width("randomaccessindication") == 1
        self.streamStateLength = width("streamstateindication")
        self.auxiliarySizeLength = width("auxiliarydatasizelength")
        self.constantSize = parameters["constantsize"].flatMap { Int($0) }
        if let duration = parameters["constantduration"].flatMap({ Int($0) }) {
            self.constantDuration = duration
            isValid = isValid && (1...65_536).contains(duration)
        }
        guard isValid, self.sizeLength > 0 || (self.constantSize ?? 0) > 0 else { return nil }
    }

    /// Whether the writer knows every field: headers of a size and an index, and nothing else.
    var canBeWritten: Bool {
        self.sizeLength > 0 && self.sizeLength + self.indexLength <= 56 && self.ctsDeltaLength == 0
            && self.dtsDeltaLength == 0 && !self.hasRandomAccessIndication && self.streamStateLength == 0
            && self.auxiliarySizeLength == 0
    }

    /// Whether payloads begin with a header section.
    var hasHeaders: Bool {
        self.sizeLength + self.indexLength + self.indexDeltaLength + self.ctsDeltaLength + self.dtsDeltaLength
            + self.streamStateLength > 0 || self.hasRandomAccessIndication
    }
}
