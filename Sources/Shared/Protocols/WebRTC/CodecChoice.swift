import Media
import SDP

/// One payload type of an offered section.
struct OfferedFormat {
    let payloadType: UInt8
    /// In lower case.
    let encoding: String
    let clockRate: Int
    let channels: Int
    let parameters: FormatParameters

    /// The section's formats in its order; those without an rtpmap count only if their numbers are static.
    static func formats(of media: MediaDescription) -> [OfferedFormat] {
        let maps = media.rtpMaps
        return media.formats.prefix(128).compactMap { text in
            guard let number = SDPNumber.unsigned(text, maximum: 127) else { return nil }
            let payloadType = UInt8(number)
            guard let map = maps.first(where: { $0.payloadType == payloadType }) ?? self.staticMap(payloadType) else {
                return nil
            }
            return OfferedFormat(
                payloadType: payloadType, encoding: map.encoding.lowercased(), clockRate: map.clockRate,
                channels: map.channels, parameters: media.formatParameters(of: payloadType) ?? FormatParameters())
        }
    }

    /// Spec: RFC 3551 §6.
    private static func staticMap(_ payloadType: UInt8) -> RTPMap? {
        switch payloadType {
        case 0: RTPMap(payloadType: 0, encoding: "PCMU", clockRate: 8000)
        case 8: RTPMap(payloadType: 8, encoding: "PCMA", clockRate: 8000)
        default: nil
        }
    }

    /// The codec; `nil` for everything that is not media of ours, such as `rtx`, `red` and `telephone-event`.
    var codec: Codec? {
        switch (self.encoding, self.clockRate) {
        case ("h264", 90_000): .h264
        case ("h265", 90_000), ("hevc", 90_000): .hevc
        case ("vp8", 90_000): .vp8
        case ("vp9", 90_000): .vp9
        case ("av1", 90_000), ("av1x", 90_000): .av1
        // RFC 7587 §7: always two channels in the rtpmap; some write one.
        case ("opus", 48_000): .opus
        case ("pcma", 8000) where self.channels == 1: .g711ALaw
        case ("pcmu", 8000) where self.channels == 1: .g711MuLaw
        default: nil
        }
    }

    /// For errors: the encoding with what tells profiles apart.
    var summary: String {
        let profile = ["profile-level-id", "profile-id", "profile", "packetization-mode", "tx-mode"]
            .compactMap { name in self.parameters[name].map { "\(name)=\($0)" } }
        return ([self.encoding.uppercased()] + profile).joined(separator: " ")
    }

    /// A parameter that is a number, with the value that its absence means; `nil` if it is none.
    func number(_ name: String, absent: Int) -> Int? {
        guard let text = self.parameters[name] else { return absent }
        return SDPNumber.unsigned(text, maximum: 65_535)
    }
}

/// How well offered formats fit: smaller is better, `nil` is unusable.
enum FormatScore {
    /// For a publisher: the plainest profile, as all viewers decode it.
    static func publish(_ format: OfferedFormat, codec: Codec) -> Int? {
        switch codec {
        case .h264:
            guard let profile = self.h264Profile(format), let mode = self.packetizationPenalty(format) else {
                return nil
            }
            return profile.rawValue + mode
        case .hevc:
            guard self.isSingleStream(format), let profile = format.number("profile-id", absent: 1),
                profile == 1 || profile == 2
            else { return nil }
            return profile
        case .vp9: return format.number("profile-id", absent: 0).flatMap { (0...3).contains($0) ? $0 : nil }
        case .av1: return format.number("profile", absent: 0).flatMap { (0...2).contains($0) ? $0 : nil }
        default: return 0
        }
    }

    /// For a player: the stream's own profile, else one whose decoders can do it, too.
    static func play(_ format: OfferedFormat, video: PlayVideo) -> Int? {
        switch video {
        case .h264(let stream): return self.playH264(format, stream: stream)
        case .hevc(let stream, _, _):
            guard self.isSingleStream(format), let profile = format.number("profile-id", absent: 1) else { return nil }
            // Decoders of Main 10 decode Main, too.
            return profile == stream ? 0 : stream == 1 && profile == 2 ? 1 : nil
        case .vp8: return 0
        case .vp9(let stream): return format.number("profile-id", absent: 0) == stream ? 0 : nil
        case .av1(let stream, _, _):
            guard let profile = format.number("profile", absent: 0), profile >= stream, profile <= 2 else { return nil }
            return profile - stream
        }
    }

    private static func playH264(_ format: OfferedFormat, stream: H264ProfileLevel) -> Int? {
        guard let profile = self.h264Profile(format), let mode = self.packetizationPenalty(format) else { return nil }
        guard let wanted = stream.profile else { return mode + profile.rawValue }
        guard wanted <= .high else { return profile >= wanted ? mode + profile.rawValue - wanted.rawValue : nil }
        // Up to High every decoder can do more than it offers. Profiles beyond are the last choice, as decoders in
        // hardware do not have them.
        if profile > .high { return mode + 16 + profile.rawValue }
        return mode + (profile >= wanted ? profile.rawValue - wanted.rawValue : 8 + wanted.rawValue - profile.rawValue)
    }

    private static func h264Profile(_ format: OfferedFormat) -> H264ProfileLevel.Profile? {
        guard let text = format.parameters["profile-level-id"] else { return H264ProfileLevel.implied.profile }
        return H264ProfileLevel(parsing: text)?.profile
    }

    /// Mode 1 is what we send; peers that say 0 or nothing take it, too, and are the last choice. Mode 2 interleaves.
    private static func packetizationPenalty(_ format: OfferedFormat) -> Int? {
        switch format.number("packetization-mode", absent: 0) {
        case 1: 0
        case 0: 32
        default: nil
        }
    }

    /// HEVC in one RTP stream; the other modes spread layers over several. Spec: RFC 7798 §7.1.
    private static func isSingleStream(_ format: OfferedFormat) -> Bool {
        (format.parameters["tx-mode"] ?? "SRST").uppercased() == "SRST"
    }
}

/// What the answer says of a chosen format.
enum AnswerParameters {
    static func publish(_ format: OfferedFormat, codec: Codec, allowsStereo: Bool) -> FormatParameters {
        guard codec == .opus else { return self.echo(format, codec: codec) }
        var parameters = self.echo(format, codec: codec)
        // Browsers send one channel unless the answer asks for two.
        if allowsStereo { parameters.parameters.append(.init("stereo", "1")) }
        return parameters
    }

    static func play(_ format: OfferedFormat, codec: Codec, channels: Int) -> FormatParameters {
        guard codec == .opus else { return self.echo(format, codec: codec) }
        var parameters = self.echo(format, codec: codec)
        if channels > 1 {
            parameters.parameters.append(.init("stereo", "1"))
            parameters.parameters.append(.init("sprop-stereo", "1"))
        }
        return parameters
    }

    /// The parameters that name the same configuration on both sides, as they were offered.
    private static func echo(_ format: OfferedFormat, codec: Codec) -> FormatParameters {
        let names: Set<String>
        switch codec {
        case .h264: names = ["level-asymmetry-allowed", "packetization-mode", "profile-level-id"]
        case .hevc: names = ["profile-space", "profile-id", "tier-flag", "level-id", "tx-mode"]
        case .vp9: names = ["profile-id"]
        case .av1: names = ["profile", "level-idx", "tier"]
        case .opus: names = ["minptime", "useinbandfec"]
        default: names = []
        }
        return FormatParameters(format.parameters.parameters.filter { names.contains($0.name.lowercased()) })
    }
}
