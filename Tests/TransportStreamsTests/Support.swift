import MPEGTS
import Media
import NIOCore
import Streaming
import TestSupport

@testable import TransportStreams

func join(_ pieces: [ByteBuffer]) -> ByteBuffer {
    var all = ByteBuffer()
    for piece in pieces { all.writeImmutableBuffer(piece) }
    return all
}

extension NIODeadline {
    static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    static func after(millis: Int64) -> NIODeadline { .start + .milliseconds(millis) }
}

/// Small tracks and frames that the format accepts; nothing in them can be decoded.
enum Sample {
    static let avcTrack: Track = {
        let sps = bytes("6764001facd9405005bb016a02020280000003008000001e078c18cb")
        var record = ByteBuffer()
        do {
            try AVCDecoderConfiguration(
                sequenceParameterSets: [sps], pictureParameterSets: [bytes("68ebe3cb22c0")]
            ).write(into: &record)
            return try Track(codec: .h264, parsingConfiguration: record)
        } catch {
            preconditionFailure("\(error)")
        }
    }()

    static let aacTrack = Track(
        codec: .aac, configuration: bytes("1190"),
        format: .audio(AudioFormat(sampleRate: 48_000, channels: 2, profile: "LC", samplesPerFrame: 1024)))
    static let mp3Track = Track(
        codec: .mp3, configuration: nil, format: .audio(AudioFormat(sampleRate: 44_100, channels: 2)))
    static let g711Track = Track(
        codec: .g711ALaw, configuration: nil, format: .audio(AudioFormat(sampleRate: 8_000, channels: 1)))
    static let av1Track = Track(codec: .av1, configuration: bytes("81000c00"), format: .video(VideoFormat()))

    /// NAL units of these header bytes, each with `length` bytes of which none looks like a start code. The bit behind the
    /// header says that the slice is the picture's first, unless `isFirst` is false.
    static func payload(_ headers: [[UInt8]], length: Int = 300, seed: UInt8 = 0, isFirst: Bool = true) -> ByteBuffer {
        var payload = ByteBuffer()
        for header in headers {
            payload.writeInteger(UInt32(max(length, header.count + 2)))
            payload.writeBytes(header)
            payload.writeInteger(UInt8(isFirst ? 0x88 : 0x48))
            for index in (header.count + 1)..<max(length, header.count + 2) {
                payload.writeInteger(UInt8(truncatingIfNeeded: index &* 7) ^ seed | 1)
            }
        }
        return payload
    }

    static func video(_ ticks: Int64, key: Bool = false, length: Int = 300, delay: Int64 = 0, seed: UInt8 = 0) -> Frame
    {
        Frame(
            codec: .h264, dts: MediaTime(ticks: ticks), pts: MediaTime(ticks: ticks + delay), isKeyframe: key,
            payload: self.payload([[key ? 0x65 : 0x41]], length: length, seed: seed))
    }

    static func audio(_ ticks: Int64, codec: Codec = .aac, length: Int = 100, seed: UInt8 = 0) -> Frame {
        let payload = ByteBuffer(bytes: (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 5) ^ seed })
        return Frame(
            codec: codec, dts: MediaTime(ticks: ticks), pts: MediaTime(ticks: ticks), isKeyframe: true,
            payload: payload)
    }

    /// Audio and video from `start` on: 25 pictures a second with a keyframe each `keyEvery`, and AAC.
    static func frames(_ pictures: Int, from start: Int64 = 90_000, keyEvery: Int = 10, length: Int = 300) -> [Frame] {
        var frames: [Frame] = []
        for index in 0..<pictures {
            frames.append(
                self.video(
                    start + Int64(index) * 3600, key: index % keyEvery == 0,
                    length: index % keyEvery == 0 ? length * 8 : length + index % 50, seed: UInt8(index & 63) << 1))
        }
        for index in 0..<(pictures * 3600 / 1920) {
            frames.append(
                self.audio(start + Int64(index) * 1920, length: 90 + index % 40, seed: UInt8(truncatingIfNeeded: index))
            )
        }
        return frames.sorted { ($0.dts, $0.kind.rawValue) < ($1.dts, $1.kind.rawValue) }
    }

    /// `frames` as a transport stream whose times are theirs.
    static func stream(
        _ frames: [Frame], video: Track? = Sample.avcTrack, audio: Track? = Sample.aacTrack
    ) throws -> ByteBuffer {
        var configuration = TSMuxer.Configuration()
        configuration.timeOffset = .zero
        configuration.clockLead = .zero
        var muxer = TSMuxer(configuration: configuration)
        try muxer.setTracks(video: video, audio: audio)
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        for frame in frames { muxer.write(frame, into: &buffer) }
        muxer.flush(into: &buffer)
        return buffer
    }
}

/// The packets of 188 bytes.
func packets(in stream: ByteBuffer) -> [ByteBuffer] {
    var rest = stream
    var packets: [ByteBuffer] = []
    while let packet = rest.readSlice(length: 188) { packets.append(packet) }
    return packets
}

extension ByteBuffer {
    /// Of a packet.
    var pid: UInt16 { (self.getInteger(at: self.readerIndex + 1, as: UInt16.self) ?? 0) & 0x1FFF }
    var isStart: Bool { (self.getInteger(at: self.readerIndex + 1, as: UInt8.self) ?? 0) & 0x40 != 0 }
}

extension [MediaEvent] {
    var frames: [Frame] { self.compactMap { if case .frame(let frame) = $0 { frame } else { nil } } }
    func frames(_ kind: MediaKind) -> [Frame] { self.frames.filter { $0.kind == kind } }
    var tracks: [Track] { self.compactMap { if case .track(let track) = $0 { track } else { nil } } }
}

/// Everything that a publication makes of `stream`, fed in pieces of `step` bytes.
func publish(
    _ stream: ByteBuffer, step: Int = 1316, configuration: TSPublication.Configuration = .init()
) -> (events: [MediaEvent], publication: TSPublication, notices: [TSPublication.Notice]) {
    var publication = TSPublication(configuration: configuration)
    var events: [MediaEvent] = []
    var rest = stream
    while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
        events += publication.receive(piece, now: .start)
    }
    events += publication.finish()
    return (events, publication, publication.takeNotices())
}
