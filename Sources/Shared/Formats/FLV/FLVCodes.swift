package import Media

/// The kinds of FLV tags, whose numbers are also RTMP's message type ids. Spec: FLV 10.1 §E.4.1.
package enum FLVTagType: UInt8, Sendable, Hashable {
    case audio = 8
    case video = 9
    case script = 18
}

/// The numbers of FLV 10.1 §E.4.2 and §E.4.3 that the readers and writers share.
enum FLVCode {
    static let avc: UInt8 = 7
    static let legacyHEVC: UInt8 = 12
    static let legacyAV1: UInt8 = 13
    static let mp3: UInt8 = 2
    static let g711ALaw: UInt8 = 7
    static let g711MuLaw: UInt8 = 8
    static let enhancedAudio: UInt8 = 9
    static let aac: UInt8 = 10
    static let speex: UInt8 = 11
    static let mp3At8kHz: UInt8 = 14
}

/// Packet types of enhanced RTMP v2, "Enhanced Video" and "Enhanced Audio"; video and audio share the numbers.
enum FLVPacketType {
    static let sequenceStart: UInt8 = 0
    static let codedFrames: UInt8 = 1
    static let sequenceEnd: UInt8 = 2
    /// Video only: coded frames whose composition offset is zero.
    static let codedFramesX: UInt8 = 3
    /// Video: metadata. Audio: multichannel configuration.
    static let metadataOrMultichannel: UInt8 = 4
    static let transportStreamSequenceStart: UInt8 = 5
    static let videoMultitrack: UInt8 = 6
    static let audioMultitrack: UInt8 = 5
    static let modifierExtension: UInt8 = 7
}

/// The four-character names of codecs in enhanced RTMP.
package enum FLVFourCC {
    package static let avc1: UInt32 = 0x6176_6331
    package static let hvc1: UInt32 = 0x6876_6331
    package static let av01: UInt32 = 0x6176_3031
    package static let vp08: UInt32 = 0x7670_3038
    package static let vp09: UInt32 = 0x7670_3039
    package static let ac3: UInt32 = 0x6163_2D33
    package static let eac3: UInt32 = 0x6563_2D33
    package static let opus: UInt32 = 0x4F70_7573
    package static let mp3: UInt32 = 0x2E6D_7033
    package static let flac: UInt32 = 0x664C_6143
    package static let aac: UInt32 = 0x6D70_3461

    /// The codec of a video fourCC that Weir carries.
    package static func videoCodec(_ fourCC: UInt32) -> Codec? {
        switch fourCC {
        case self.avc1: .h264
        case self.hvc1: .hevc
        case self.av01: .av1
        case self.vp08: .vp8
        case self.vp09: .vp9
        default: nil
        }
    }

    /// The codec of an audio fourCC that Weir carries.
    package static func audioCodec(_ fourCC: UInt32) -> Codec? {
        switch fourCC {
        case self.aac: .aac
        case self.mp3: .mp3
        case self.opus: .opus
        case self.flac: .flac
        case self.ac3: .ac3
        case self.eac3: .eac3
        default: nil
        }
    }

    /// The fourCC of a codec; `nil` for those that enhanced RTMP does not name (G.711, Speex).
    package static func of(_ codec: Codec) -> UInt32? {
        switch codec {
        case .h264: self.avc1
        case .hevc: self.hvc1
        case .av1: self.av01
        case .vp8: self.vp08
        case .vp9: self.vp09
        case .aac: self.aac
        case .mp3: self.mp3
        case .opus: self.opus
        case .flac: self.flac
        case .ac3: self.ac3
        case .eac3: self.eac3
        case .g711ALaw, .g711MuLaw, .speex: nil
        }
    }
}
