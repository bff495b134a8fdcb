package import Media

/// The names of codecs in `CODECS` attributes, in manifests and in the MIME types of browsers.
///
/// Spec: RFC 6381; ISO/IEC 14496-15 annex E; AV1 and VP codec bindings to ISO media files, §5 each.
package enum CodecString {
    /// What carries the track, where names differ.
    package enum Container: Sendable, Hashable {
        case fragmentedMP4, mpegTS
    }

    /// The name of `track`'s codec; `nil` when its header is missing or broken, or when the codec has no such name
    /// (G.711, Speex).
    ///
    /// MP3 has two names. In MP4 it is `mp4a.6B`, after the object type of the sample entry; in MPEG-TS it is
    /// `mp4a.40.34`, which Apple's players and specifications use. Chromium's Media Source Extensions know neither, and
    /// take only bare frames as `audio/mpeg`. Opus and FLAC are `opus` and `fLaC`, as in the registry of MP4 codecs but
    /// for the case of Opus, which browsers write in lower case.
    package static func of(_ track: Track, in container: Container = .fragmentedMP4) -> String? {
        switch track.codec {
        case .h264: return self.avc(track)
        case .hevc: return self.hevc(track)
        case .av1: return self.av1(track)
        case .vp8: return self.vp(track, name: "vp08")
        case .vp9: return self.vp(track, name: "vp09")
        case .aac: return self.aac(track)
        case .mp3: return container == .mpegTS ? "mp4a.40.34" : "mp4a.6B"
        case .opus: return "opus"
        case .flac: return "fLaC"
        case .ac3: return "ac-3"
        case .eac3: return "ec-3"
        case .g711ALaw, .g711MuLaw, .speex: return nil
        }
    }

    /// `avc1.` and profile, constraints and level as six digits.
    private static func avc(_ track: Track) -> String? {
        guard let record = track.configuration, let header = try? AVCDecoderConfiguration(parsing: record) else {
            return nil
        }
        let bytes = [header.profileIndication, header.profileCompatibility, header.levelIndication]
        return "avc1." + bytes.map { Self.hexadecimal(UInt64($0), digits: 2) }.joined()
    }

    /// `hvc1.`, profile, compatibility flags in reverse order, tier and level, constraint bytes up to the last that is
    /// not 0.
    private static func hevc(_ track: Track) -> String? {
        guard let record = track.configuration, let header = try? HEVCDecoderConfiguration(parsing: record) else {
            return nil
        }
        var reversed: UInt32 = 0
        for bit in 0..<32 where header.profileCompatibility >> UInt32(bit) & 1 != 0 {
            reversed |= 1 << UInt32(31 - bit)
        }
        let space = ["", "A", "B", "C"][Int(header.profileByte >> 6)]
        let tier = header.profileByte & 0x20 == 0 ? "L" : "H"
        var text = "hvc1.\(space)\(header.profileByte & 0x1F)."
        text += "\(Self.hexadecimal(UInt64(reversed), digits: 1).uppercased()).\(tier)\(header.levelIndication)"
        var constraints = (0..<6).map { UInt8(truncatingIfNeeded: header.constraints >> UInt64(40 - 8 * $0)) }
        while constraints.last == 0 { constraints.removeLast() }
        for byte in constraints { text += "." + Self.hexadecimal(UInt64(byte), digits: 1).uppercased() }
        return text
    }

    /// `av01.`, profile, level and tier, bit depth. The colour fields are left at their defaults.
    private static func av1(_ track: Track) -> String? {
        guard let record = track.configuration, let header = try? AV1CodecConfiguration(parsing: record) else {
            return nil
        }
        let tier = header.isHighTier ? "H" : "M"
        let text =
            "av01.\(header.profile).\(Self.decimal(header.levelIndex))\(tier).\(Self.decimal(header.bitDepth))"
        // The optional fields come all or none: monochrome, subsampling, primaries, transfer, matrix, range.
        return header.isMonochrome ? text + ".1.110.01.01.01.0" : text
    }

    /// `vp09.`, profile, level, bit depth. A level that the header does not tell follows from size and frame rate.
    private static func vp(_ track: Track, name: String) -> String? {
        guard let record = track.configuration, let header = try? VPCodecConfiguration(parsing: record) else {
            // Streams of VP8 often have no record; its profile 0 has a depth of 8 bits.
            return track.codec == .vp8 ? "\(name).00.\(Self.level(of: track)).08" : nil
        }
        let level = header.level > 0 ? header.level : self.level(of: track)
        let profile = Self.decimal(header.profile)
        return "\(name).\(profile).\(Self.decimal(level)).\(Self.decimal(max(8, header.bitDepth)))"
    }

    /// The lowest level of VP9 that allows the picture, 10 times its number; 3.1 when the size is not known.
    private static func level(of track: Track) -> Int {
        guard case .video(let format) = track.format, let width = format.width, let height = format.height,
            (1...65_536).contains(width), (1...65_536).contains(height)
        else { return 31 }
        let rate = format.frameRate.map { $0.isFinite ? min(max($0, 1), 1000) : 30 } ?? 30
        let size = width * height
        let samples = Double(size) * rate
        return self.levels.first { size <= $0.size && samples <= $0.rate }?.level ?? 62
    }

    private static let levels: [(level: Int, size: Int, rate: Double)] = [
        (10, 36_864, 829_440), (11, 73_728, 2_764_800), (20, 122_880, 4_608_000), (21, 245_760, 9_216_000),
        (30, 552_960, 20_736_000), (31, 983_040, 36_864_000), (40, 2_228_224, 83_558_400),
        (41, 2_228_224, 160_432_128), (50, 8_912_896, 311_951_360), (51, 8_912_896, 588_251_136),
        (52, 8_912_896, 1_176_502_272), (60, 35_651_584, 1_176_502_272), (61, 35_651_584, 2_353_004_544),
        (62, 35_651_584, 4_706_009_088),
    ]

    /// `mp4a.40.` and the audio object type a player has to know: with band replication 5, with parametric stereo 29.
    private static func aac(_ track: Track) -> String? {
        guard let record = track.configuration, let header = try? AudioSpecificConfig(parsing: record) else {
            return nil
        }
        if header.usesParametricStereo { return "mp4a.40.\(AudioSpecificConfig.ObjectType.parametricStereo)" }
        if header.extensionSampleRate != nil {
            return "mp4a.40.\(AudioSpecificConfig.ObjectType.spectralBandReplication)"
        }
        return "mp4a.40.\(header.objectType)"
    }

    /// Two digits at least.
    private static func decimal(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }

    private static func hexadecimal(_ number: UInt64, digits: Int) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
