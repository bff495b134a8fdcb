import MPEGTS
import Media
import NIOCore

/// libFuzzer's entry: the first byte chooses what is done, the rest is its input.
@c(LLVMFuzzerTestOneInput)
public func fuzzMPEGTS(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    switch choice % 4 {
    case 0: readStream(input, step: Int(choice / 4) + 1)
    case 1: readElementaryStream(input, type: Int(choice / 4))
    case 2: writeFrames(input)
    default: readTag(input)
    }
    return 0
}

/// The bytes as they are, whole and in steps: both must give the same.
private func readStream(_ input: ByteBuffer, step: Int) {
    let whole = demux(input, step: .max)
    let stepped = demux(input, step: step)
    precondition(whole == stepped, "\(whole.count) outputs at once, \(stepped.count) in steps of \(step)")
}

/// The bytes as what packets of one stream carry, behind tables that are right: each piece has a byte of flags and a
/// byte of length in front.
private func readElementaryStream(_ input: ByteBuffer, type: Int) {
    var muxer = TSMuxer()
    let types: [Codec] = [.aac, .mp3, .ac3, .eac3]
    guard (try? muxer.setTracks(video: nil, audio: track(types[type % 4]))) != nil else { return }
    var stream = ByteBuffer()
    muxer.writeTables(into: &stream)
    // The types that our own muxer does not write are patched in; the checksum then fits no more, so it is written anew.
    let streamTypes: [UInt8] = [0x0F, 0x11, 0x1B, 0x24, 0x03, 0x81, 0x87]
    stream.setInteger(streamTypes[type % streamTypes.count], at: 188 + 17)
    let length = Int(stream.getInteger(at: 188 + 6, as: UInt16.self) ?? 0) & 0xFFF
    let end = 188 + 8 + length - 4
    stream.setInteger(checksum(stream.getSlice(at: 188 + 5, length: end - 193) ?? ByteBuffer()), at: end)
    var rest = input
    var continuity: UInt8 = 0
    while let (flags, length) = rest.readMultipleIntegers(as: (UInt8, UInt8).self) {
        guard let piece = rest.readSlice(length: min(Int(length), 182, rest.readableBytes)) else { break }
        let field = 184 - piece.readableBytes
        stream.writeMultipleIntegers(
            UInt8(0x47), UInt16(0x101) | (flags & 1 != 0 ? 0x4000 : 0), 0x30 | continuity, UInt8(field - 1), UInt8(0))
        stream.writeRepeatingByte(0xFF, count: field - 2)
        stream.writeImmutableBuffer(piece)
        continuity = (continuity + (flags & 0xE0 == 0xE0 ? 2 : 1)) & 15
    }
    var last: Int64 = -1
    for output in demux(stream, step: .max) {
        guard case .event(.frame(let frame), let position) = output else { continue }
        precondition(frame.dts <= frame.pts && frame.payload.readableBytes > 0)
        precondition(position >= 0 && position < Int64(stream.readableBytes))
        last = max(last, position)
    }
}

/// Frames that the bytes describe: what is written must be whole packets that are read without a problem.
private func writeFrames(_ input: ByteBuffer) {
    var input = input
    var muxer = TSMuxer()
    let codecs: [Codec] = [.aac, .mp3, .ac3, .eac3]
    let codec = codecs[Int(input.readInteger(as: UInt8.self) ?? 0) % 4]
    guard (try? muxer.setTracks(video: nil, audio: track(codec), carriesID3: true)) != nil else { return }
    var stream = ByteBuffer()
    while let (kind, step, length) = input.readMultipleIntegers(as: (UInt8, UInt32, UInt8).self) {
        guard let payload = input.readSlice(length: min(Int(length), input.readableBytes)) else { break }
        let time = MediaTime(ticks: Int64(Int32(bitPattern: step)))
        switch kind % 4 {
        case 0: muxer.flush(into: &stream)
        case 1: muxer.writeID3(payload, at: time, into: &stream)
        default:
            muxer.write(Frame(codec: codec, dts: time, pts: time, isKeyframe: true, payload: payload), into: &stream)
        }
    }
    muxer.flush(into: &stream)
    precondition(stream.readableBytes % 188 == 0)
    for output in demux(stream, step: .max) {
        guard case .problem(let problem) = output else { continue }
        switch problem {
        case .audioSyncLost, .unusableFrame, .configuration, .unsupportedConfiguration: continue
        default: preconditionFailure("\(problem)")
        }
    }
}

private func readTag(_ input: ByteBuffer) {
    guard let frames = ID3Tag.frames(in: input) else { return }
    guard let again = ID3Tag.frames(in: ID3Tag.tag(frames)) else { preconditionFailure("a written tag was not read") }
    precondition(again.count == frames.count)
}

private func demux(_ input: ByteBuffer, step: Int) -> [TSDemuxer.Output] {
    var configuration = TSDemuxer.Configuration()
    configuration.maximumAccessUnitLength = 4096
    var demuxer = TSDemuxer(configuration: configuration)
    var outputs: [TSDemuxer.Output] = []
    var rest = input
    while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
        demuxer.receive(piece)
        while let output = demuxer.nextOutput() { outputs.append(output) }
    }
    demuxer.finish()
    while let output = demuxer.nextOutput() { outputs.append(output) }
    return outputs
}

private func track(_ codec: Codec) -> Track {
    Track(
        codec: codec, configuration: codec == .aac ? ByteBuffer(bytes: [0x11, 0x90]) : nil,
        format: .audio(AudioFormat(sampleRate: 48_000, channels: 2)))
}

/// The checksum of tables (ISO 13818-1 annex A), bit by bit.
private func checksum(_ bytes: ByteBuffer) -> UInt32 {
    bytes.readableBytesView.reduce(0xFFFF_FFFF) { value, byte in
        (0..<8).reduce(value ^ UInt32(byte) << 24) { value, _ in
            value & 0x8000_0000 != 0 ? value << 1 ^ 0x04C1_1DB7 : value << 1
        }
    }
}
