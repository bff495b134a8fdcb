import Media
import NIOCore
import Testing

@testable import Streaming

/// A moment of the arrival clock that only the test moves.
func arrival(_ millis: Int64) -> NIODeadline { .uptimeNanoseconds(1_000_000_000_000) + .milliseconds(millis) }

func millis(_ value: Int64) -> MediaTime { MediaTime(millis: value) }

/// Repeatable numbers for property tests.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

enum Sample {
    static let video = Track(codec: .h264, configuration: ByteBuffer(bytes: [1, 2, 3]), format: .video(VideoFormat()))
    static let otherVideo = Track(
        codec: .h264, configuration: ByteBuffer(bytes: [9, 9]), format: .video(VideoFormat()))
    static let audio = Track(codec: .aac, configuration: ByteBuffer(bytes: [4, 5]), format: .audio(AudioFormat()))
    static let metadata = StreamMetadata(entries: [
        .init(name: "width", value: .number(640)), .init(name: "audiosamplerate", value: .number(48_000)),
        .init(name: "encoder", value: .string("test")),
    ])
    static let state = StreamState(video: video, audio: audio, metadata: metadata)

    static func video(_ time: Int64, key: Bool = false, bytes: Int = 100, offset: Int64 = 0) -> Frame {
        Frame(
            codec: .h264, dts: millis(time), pts: millis(time + offset), isKeyframe: key,
            payload: ByteBuffer(repeating: 0x56, count: bytes))
    }

    static func audio(_ time: Int64, bytes: Int = 20) -> Frame {
        Frame(
            codec: .aac, dts: millis(time), pts: millis(time), isKeyframe: true,
            payload: ByteBuffer(repeating: 0x41, count: bytes))
    }
}

/// Writes one readable word for each call, so that tests can compare texts. Frames of 0 bytes write nothing.
struct WordEncoder: RenditionEncoder {
    func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {
        buffer.writeString("H(\(Self.describe(state)))")
    }

    func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {
        buffer.writeString("P\(time.millis)(\(Self.describe(state)))")
    }

    mutating func write(
        _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
    ) {
        switch event {
        case .track(let track): buffer.writeString("t\(track.kind == .video ? "v" : "a")\(time.millis) ")
        case .metadata(let metadata): buffer.writeString("m\(time.millis)[\(Self.names(metadata))] ")
        case .data(let data): buffer.writeString("d\(time.millis)[\(data.name)] ")
        case .frame(let frame):
            guard frame.payload.readableBytes > 0 else { return }
            let kind = frame.kind == .audio ? "a" : frame.isKeyframe ? "K" : "v"
            buffer.writeString("\(kind)\(time.millis) ")
        }
    }

    private static func names(_ metadata: StreamMetadata) -> String {
        metadata.entries.map(\.name).joined(separator: ",")
    }

    private static func describe(_ state: StreamState) -> String {
        var parts: [String] = []
        if let video = state.video { parts.append("v\(video.configuration?.readableBytes ?? 0)") }
        if let audio = state.audio { parts.append("a\(audio.configuration?.readableBytes ?? 0)") }
        if let metadata = state.metadata { parts.append(Self.names(metadata)) }
        return parts.joined(separator: ";")
    }
}

/// Writes the payloads of frames and nothing else.
struct PayloadEncoder: RenditionEncoder {
    func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {}
    func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {}
    mutating func write(
        _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
    ) {
        if case .frame(let frame) = event { buffer.writeImmutableBuffer(frame.payload) }
    }
}

extension ByteBuffer {
    var text: String { String(decoding: self.readableBytesView, as: UTF8.self) }
}

extension Slab {
    var text: String { self.bytes.text }

    static func of(_ sequence: UInt64, bytes: Int, isStart: Bool = false, sealedAt: NIODeadline = arrival(0)) -> Slab {
        Slab(
            sequence: sequence, bytes: ByteBuffer(repeating: UInt8(truncatingIfNeeded: sequence), count: bytes),
            start: isStart ? SlabStart(header: ByteBuffer(), prelude: ByteBuffer()) : nil, sealedAt: sealedAt,
            frames: 1)
    }
}
