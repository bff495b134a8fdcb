import FLV
import Media
import NIOCore

/// libFuzzer's entry: the first byte chooses the parser, the rest is its input.
///
/// What is read must also survive being written and read again.
@c(LLVMFuzzerTestOneInput)
public func fuzzFLV(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    switch choice % 4 {
    case 0: readMessages(input)
    case 1: readFile(input, step: Int(choice / 4) + 1)
    case 2: _ = try? FLVVideoPacket(parsing: input)
    default: _ = try? FLVAudioPacket(parsing: input)
    }
    return 0
}

/// Cuts the input into messages (one byte of kind, one of length) and feeds them to a track reader.
private func readMessages(_ input: ByteBuffer) {
    var input = input
    var reader = FLVTrackReader()
    var time: Int64 = 0
    while let (kind, length) = input.readMultipleIntegers(as: (UInt8, UInt8).self) {
        guard let body = input.readSlice(length: min(Int(length), input.readableBytes)) else { return }
        time += 20
        let result =
            kind % 2 == 0
            ? try? reader.video(timestampMillis: time, body: body)
            : try? reader.audio(timestampMillis: time, body: body)
        guard let frame = result?.frame else { continue }
        guard let track = frame.kind == .video ? reader.videoTrack : reader.audioTrack else {
            preconditionFailure("a frame came without its track")
        }
        checkRoundTrip(frame, track)
    }
}

private func checkRoundTrip(_ frame: Frame, _ track: Track) {
    var body = ByteBuffer()
    let length = FLVTagBodyWriter.writeHeader(of: frame, track: track, into: &body)
    precondition(length == body.readableBytes && length <= FLVTagBodyWriter.maximumHeaderLength)
    body.writeImmutableBuffer(frame.payload)
    if frame.kind == .video {
        guard case .frame(let codec, _, let isKeyframe, _, let payload) = try? FLVVideoPacket(parsing: body) else {
            preconditionFailure("a written video frame was not read")
        }
        precondition(codec == frame.codec && isKeyframe == frame.isKeyframe && payload == frame.payload)
    } else {
        guard case .frame(let codec, _, _, let payload) = try? FLVAudioPacket(parsing: body) else {
            preconditionFailure("a written audio frame was not read")
        }
        precondition(codec == frame.codec && payload == frame.payload)
    }
}

/// Reads a file whole and in steps; both must give the same tags.
private func readFile(_ input: ByteBuffer, step: Int) {
    var whole = FLVFileReader(maximumBodyLength: 4096)
    whole.receive(input)
    let expected = drain(&whole)
    var rest = input
    var stepped = FLVFileReader(maximumBodyLength: 4096)
    var tags: [FLVTag] = []
    while rest.readableBytes > 0 {
        guard let part = rest.readSlice(length: min(step, rest.readableBytes)) else { break }
        stepped.receive(part)
        let (more, failed) = drain(&stepped)
        tags += more
        if failed { break }
    }
    precondition(tags == expected.tags, "\(tags.count) tags in steps of \(step), \(expected.tags.count) at once")
}

private func drain(_ reader: inout FLVFileReader) -> (tags: [FLVTag], failed: Bool) {
    var tags: [FLVTag] = []
    do throws(FLVError) {
        while let tag = try reader.nextTag() { tags.append(tag) }
        return (tags, false)
    } catch {
        return (tags, true)
    }
}
