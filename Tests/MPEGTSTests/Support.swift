import Media
import NIOCore
import TestSupport

@testable import MPEGTS

/// The 188-byte packets of a stream.
func packets(in stream: ByteBuffer) -> [ByteBuffer] {
    var rest = stream
    var packets: [ByteBuffer] = []
    while let packet = rest.readSlice(length: 188) { packets.append(packet) }
    precondition(rest.readableBytes == 0, "\(rest.readableBytes) bytes behind the last packet")
    return packets
}

func join(_ pieces: [ByteBuffer]) -> ByteBuffer {
    var all = ByteBuffer()
    for piece in pieces { all.writeImmutableBuffer(piece) }
    return all
}

/// Everything that a demuxer says of `stream`, fed in pieces of `step` bytes.
func demux(
    _ stream: ByteBuffer, step: Int = .max, configuration: TSDemuxer.Configuration = .init()
) -> [TSDemuxer.Output] {
    var demuxer = TSDemuxer(configuration: configuration)
    return feed(stream, to: &demuxer, step: step)
}

func feed(_ stream: ByteBuffer, to demuxer: inout TSDemuxer, step: Int = .max) -> [TSDemuxer.Output] {
    var outputs: [TSDemuxer.Output] = []
    var rest = stream
    while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
        demuxer.receive(piece)
        while let output = demuxer.nextOutput() { outputs.append(output) }
    }
    demuxer.finish()
    while let output = demuxer.nextOutput() { outputs.append(output) }
    return outputs
}

extension [TSDemuxer.Output] {
    var problems: [TSProblem] { self.compactMap { if case .problem(let problem) = $0 { problem } else { nil } } }

    var programs: [TSProgram] { self.compactMap { if case .program(let program) = $0 { program } else { nil } } }

    var tracks: [Track] { self.compactMap { if case .event(.track(let track), _) = $0 { track } else { nil } } }

    var frames: [Frame] { self.compactMap { if case .event(.frame(let frame), _) = $0 { frame } else { nil } } }

    func frames(_ kind: MediaKind) -> [Frame] { self.frames.filter { $0.kind == kind } }
}

/// Small tracks and frames that the format accepts; nothing in them can be decoded.
enum Sample {
    /// 1280 × 720, High, level 3.1, as libx264 writes it.
    static let sps = bytes("6764001facd9405005bb016a02020280000003008000001e078c18cb")
    static let pps = bytes("68ebe3cb22c0")

    static func avcTrack(sps: ByteBuffer = Self.sps, pps: ByteBuffer = Self.pps) -> Track {
        var record = ByteBuffer()
        do {
            try AVCDecoderConfiguration(sequenceParameterSets: [sps], pictureParameterSets: [pps]).write(into: &record)
            return try Track(codec: .h264, parsingConfiguration: record)
        } catch {
            preconditionFailure("\(error)")
        }
    }

    static let aacTrack = Track(
        codec: .aac, configuration: bytes("1190"),
        format: .audio(AudioFormat(sampleRate: 48_000, channels: 2, profile: "LC", samplesPerFrame: 1024)))

    static func track(_ codec: Codec, _ configuration: String? = nil, rate: Int = 48_000) -> Track {
        Track(
            codec: codec, configuration: configuration.map(bytes),
            format: codec.kind == .video ? .video(VideoFormat()) : .audio(AudioFormat(sampleRate: rate, channels: 2)))
    }

    /// A slice NAL unit of `length` bytes without start codes in it. `header` 65 is an IDR slice, 41 another.
    static func slice(_ header: UInt8, length: Int, seed: UInt8 = 0) -> ByteBuffer {
        var unit = ByteBuffer()
        unit.writeMultipleIntegers(header, UInt8(0x88))
        for index in 2..<max(3, length) { unit.writeInteger(UInt8(truncatingIfNeeded: index &* 7) ^ seed | 1) }
        return unit
    }

    static func lengthPrefixed(_ units: [ByteBuffer]) -> ByteBuffer {
        var payload = ByteBuffer()
        for unit in units {
            payload.writeInteger(UInt32(unit.readableBytes))
            payload.writeImmutableBuffer(unit)
        }
        return payload
    }

    static func video(_ ticks: Int64, key: Bool = false, length: Int = 300, delay: Int64 = 0, seed: UInt8 = 0) -> Frame
    {
        Frame(
            codec: .h264, dts: MediaTime(ticks: ticks), pts: MediaTime(ticks: ticks + delay), isKeyframe: key,
            payload: self.lengthPrefixed([self.slice(key ? 0x65 : 0x41, length: length, seed: seed)]))
    }

    static func audio(_ ticks: Int64, codec: Codec = .aac, length: Int = 100, seed: UInt8 = 0) -> Frame {
        var payload = ByteBuffer()
        for index in 0..<length { payload.writeInteger(UInt8(truncatingIfNeeded: index &* 5) ^ seed) }
        return Frame(
            codec: codec, dts: MediaTime(ticks: ticks), pts: MediaTime(ticks: ticks), isKeyframe: true, payload: payload
        )
    }

    /// A muxer that keeps times as they are.
    static func muxer(
        video: Track? = Sample.avcTrack(), audio: Track? = Sample.aacTrack, carriesID3: Bool = false,
        _ change: (inout TSMuxer.Configuration) -> Void = { _ in }
    ) throws -> TSMuxer {
        var configuration = TSMuxer.Configuration()
        configuration.timeOffset = .zero
        change(&configuration)
        var muxer = TSMuxer(configuration: configuration)
        try muxer.setTracks(video: video, audio: audio, carriesID3: carriesID3)
        return muxer
    }

    /// A second of H.264 with two keyframes, in decoding order with reordering, and of AAC.
    static func second(from start: Int64 = 90_000) -> [Frame] {
        var frames: [Frame] = []
        for index in 0..<25 {
            frames.append(
                self.video(
                    start + Int64(index) * 3600, key: index % 12 == 0, length: index % 12 == 0 ? 3000 : 150 + index,
                    delay: index % 3 == 0 ? 7200 : 3600, seed: UInt8(index)))
        }
        for index in 0..<47 {
            frames.append(self.audio(start + Int64(index) * 1920, length: 90 + index, seed: UInt8(index)))
        }
        return frames.sorted { ($0.dts, $0.kind.rawValue) < ($1.dts, $1.kind.rawValue) }
    }

    /// `frames` as one segment.
    static func stream(of frames: [Frame], with muxer: inout TSMuxer) -> ByteBuffer {
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        for frame in frames { muxer.write(frame, into: &buffer) }
        muxer.flush(into: &buffer)
        return buffer
    }
}
