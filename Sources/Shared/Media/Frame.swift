package import NIOCore

/// One access unit (video) or one coded audio frame, between an ingest and every egress.
package struct Frame: Sendable, Hashable {
    package var codec: Codec
    /// Decoding time on the stream's timeline.
    package var dts: MediaTime
    /// Presentation time. Never before `dts` by design of the codecs; some encoders violate that and it is kept as sent.
    package var pts: MediaTime
    /// Decoding can start here (IDR, CRA, key frame). Always `true` for audio.
    package var isKeyframe: Bool
    /// H.264 and HEVC: length-prefixed NAL units with the length size of the track's configuration record. AV1: low
    /// overhead OBUs without temporal delimiters. AAC: one raw access unit without ADTS. Others: one packet of the codec.
    package var payload: ByteBuffer

    package init(codec: Codec, dts: MediaTime, pts: MediaTime, isKeyframe: Bool, payload: ByteBuffer) {
        self.codec = codec
        self.dts = dts
        self.pts = pts
        self.isKeyframe = isKeyframe
        self.payload = payload
    }

    package var kind: MediaKind { self.codec.kind }
}

/// A named message that travels with the media, such as `onTextData` or `onCuePoint`.
package struct TimedData: Sendable, Hashable {
    package var name: String
    package var time: MediaTime
    /// AMF0 values that follow the name, as they came.
    package var payload: ByteBuffer

    package init(name: String, time: MediaTime, payload: ByteBuffer) {
        self.name = name
        self.time = time
        self.payload = payload
    }
}

/// What the publisher says of its stream (`onMetaData`): names with plain values, in the order they were sent.
package struct StreamMetadata: Sendable, Hashable {
    package enum Value: Sendable, Hashable {
        case number(Double)
        case string(String)
        case boolean(Bool)
    }

    package struct Entry: Sendable, Hashable {
        package var name: String
        package var value: Value

        package init(name: String, value: Value) {
            self.name = name
            self.value = value
        }
    }

    package var entries: [Entry]

    package init(entries: [Entry] = []) { self.entries = entries }

    package subscript(name: String) -> Value? { self.entries.first { $0.name == name }?.value }
}

/// What an ingest hands to a live stream.
///
/// Times in `frame` and `data` are the source's own clock, unwrapped or not; the stream's timeline maps them.
package enum MediaEvent: Sendable, Hashable {
    /// A track appeared, or its configuration changed. Precedes the first frame that needs it.
    case track(Track)
    case metadata(StreamMetadata)
    case frame(Frame)
    case data(TimedData)
}
