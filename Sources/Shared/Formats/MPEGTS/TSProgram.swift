package import Media

/// One program of a transport stream, as its map tells it. Spec: ISO 13818-1 §2.4.4.8.
package struct TSProgram: Sendable, Hashable {
    /// One elementary stream of the program.
    package struct Stream: Sendable, Hashable {
        package var pid: UInt16
        /// `stream_type` as it came.
        package var streamType: UInt8
        package var content: Content
        /// The three letters of ISO 639-2 from the language descriptor, such as `deu`.
        package var language: String?
        /// The stream's frames come out of the demuxer.
        package var isSelected: Bool

        package init(
            pid: UInt16, streamType: UInt8, content: Content, language: String? = nil, isSelected: Bool = false
        ) {
            self.pid = pid
            self.streamType = streamType
            self.content = content
            self.language = language
            self.isSelected = isSelected
        }
    }

    /// What a stream carries, by its type and descriptors.
    package enum Content: Sendable, Hashable {
        case media(Codec)
        /// AAC in LOAS instead of ADTS.
        case latm
        /// Opus with the `channel_config_code` of its descriptor, if it has one.
        case opus(channelCode: UInt8?)
        case id3
        case unsupported

        /// The codec of the frames; `nil` for what has none, or none that is carried further.
        package var codec: Codec? {
            switch self {
            case .media(let codec): codec
            case .latm: .aac
            case .opus: .opus
            case .id3, .unsupported: nil
            }
        }
    }

    package var number: UInt16
    package var mapPID: UInt16
    /// The packets with this identifier carry the program's clock; 0x1FFF for none.
    package var clockPID: UInt16
    /// `version_number` of the map, 0 to 31.
    package var version: UInt8
    package var streams: [Stream]

    package init(number: UInt16, mapPID: UInt16, clockPID: UInt16, version: UInt8, streams: [Stream]) {
        self.number = number
        self.mapPID = mapPID
        self.clockPID = clockPID
        self.version = version
        self.streams = streams
    }
}
