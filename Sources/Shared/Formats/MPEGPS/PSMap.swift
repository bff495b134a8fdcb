import MPEGTS
package import Media
import NIOCore

/// Which coding the elementary streams of a program stream have. Spec: ISO 13818-1 §2.5.4; GB/T 28181 annex C for the
/// types from 0x80 on.
package struct PSMap: Sendable, Hashable {
    /// One elementary stream.
    package struct Stream: Sendable, Hashable {
        /// `elementary_stream_id`: 0xC0 to 0xDF for audio, 0xE0 to 0xEF for video.
        package var id: UInt8
        /// `stream_type` as it came.
        package var type: UInt8

        package init(id: UInt8, type: UInt8) {
            self.id = id
            self.type = type
        }
    }

    package var streams: [Stream]

    package init(streams: [Stream]) { self.streams = streams }

    /// The kinds of track that come of it.
    package var kinds: Set<MediaKind> { Set(self.streams.compactMap { PSContent(type: $0.type)?.codec?.kind }) }

    /// Reads the bytes behind the length field. `nil` if they contradict themselves. The checksum is not looked at:
    /// many cameras leave it empty.
    init?(parsing body: ByteBuffer, maximumStreams: Int) {
        var rest = body
        guard let (_, _, information) = rest.readMultipleIntegers(as: (UInt8, UInt8, UInt16).self),
            rest.readSlice(length: Int(information)) != nil,
            let length = rest.readInteger(as: UInt16.self),
            var entries = rest.readSlice(length: min(Int(length), rest.readableBytes))
        else { return nil }
        self.streams = []
        while let (type, id, descriptors) = entries.readMultipleIntegers(as: (UInt8, UInt8, UInt16).self) {
            guard entries.readSlice(length: Int(descriptors)) != nil else { return nil }
            if self.streams.count < maximumStreams { self.streams.append(Stream(id: id, type: type)) }
        }
    }
}

/// What is inside of an elementary stream.
enum PSContent: Sendable, Equatable {
    case elementary(TSProgram.Content)
    /// One PES packet is one frame of 8 kHz, mono.
    case g711(Codec)

    /// `nil` for a type that is not carried further, such as SVAC and G.722.
    init?(type: UInt8) {
        switch type {
        case 0x1B: self = .elementary(.media(.h264))
        case 0x24: self = .elementary(.media(.hevc))
        case 0x03, 0x04: self = .elementary(.media(.mp3))
        case 0x0F: self = .elementary(.media(.aac))
        case 0x11: self = .elementary(.latm)
        case 0x90: self = .g711(.g711ALaw)
        case 0x91: self = .g711(.g711MuLaw)
        default: return nil
        }
    }

    var codec: Codec? {
        switch self {
        case .elementary(let content): content.codec
        case .g711(let codec): codec
        }
    }

    /// What the payload of a PES packet shows by itself: parameter sets of video.
    static func sniff(video payload: ByteBuffer) -> Codec? {
        let bytes = payload.readableBytesUInt8Span
        var index = 2
        // Parameter sets stand in front of the picture, which is long.
        let end = min(bytes.count - 1, 512)
        while index < end {
            guard bytes[index] == 1, bytes[index - 1] == 0, bytes[index - 2] == 0 else {
                index += 1
                continue
            }
            let header = bytes[index + 1]
            let second: UInt8 = index + 2 < bytes.count ? bytes[index + 2] : 0
            // HEVC: video, sequence and picture parameter sets and delimiters of the base layer. As H.264 the bytes
            // would be types that no stream has with this importance.
            if [0x40, 0x42, 0x44, 0x46].contains(header), second == 1 { return .hevc }
            if header & 0x80 == 0, header & 0x60 != 0, header & 0x1F == 7 { return .h264 }
            index += 3
        }
        return nil
    }

    /// What the payload of a PES packet of audio is, where no map tells.
    static func sniff(audio payload: ByteBuffer) -> PSContent {
        guard let head = payload.getInteger(at: payload.readerIndex, as: UInt16.self), head >> 4 == 0xFFF,
            let (_, third) = payload.getMultipleIntegers(at: payload.readerIndex, as: (UInt16, UInt8).self)
        else { return .g711(.g711ALaw) }
        if head & 0x06 == 0, third >> 2 & 0x0F < 13 { return .elementary(.media(.aac)) }
        // Layer II is what other program streams have.
        if (try? MPEGAudioHeader(parsing: payload)) != nil { return .elementary(.media(.mp3)) }
        // GB/T 28181 names A-law as the audio that every device has.
        return .g711(.g711ALaw)
    }
}
