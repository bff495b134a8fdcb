import MPEGTS
import Media
import NIOCore
import Streaming
import TransportStreams

/// libFuzzer's entry: the first byte chooses what is done, the rest is its input.
@c(LLVMFuzzerTestOneInput)
public func fuzzTransportStreams(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    switch choice % 4 {
    case 0: publish(input, step: Int(choice / 4) + 1)
    case 1: damage(input)
    case 2: split(input)
    default: readDatagram(input)
    }
    return 0
}

private let pictures = 12

/// A stream of pictures, each with its number in it.
private let good: ByteBuffer = {
    var muxer = TSMuxer()
    var stream = ByteBuffer()
    guard let track = track(), (try? muxer.setTracks(video: track, audio: nil)) != nil else {
        preconditionFailure("no track")
    }
    for number in 0..<pictures {
        if number % 6 == 0 { muxer.writeTables(into: &stream) }
        muxer.write(picture(number), into: &stream)
    }
    return stream
}()

private func picture(_ number: Int) -> Frame {
    let isKeyframe = number % 6 == 0
    // 14 packets, or 7: no run of whole pictures has a multiple of sixteen, which no counter would show.
    let length = isKeyframe ? 2_450 : 1_200
    var payload = ByteBuffer()
    payload.writeMultipleIntegers(UInt32(length), UInt8(isKeyframe ? 0x65 : 0x41), UInt8(0x88))
    payload.writeRepeatingByte(UInt8(number * 2 + 1), count: length - 2)
    let time = MediaTime(ticks: Int64(number) * 3_600)
    return Frame(codec: .h264, dts: time, pts: time, isKeyframe: isKeyframe, payload: payload)
}

private func track() -> Track? {
    let sps: [UInt8] = [
        0x67, 0x64, 0, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x6a, 0x02, 0x02, 0x02, 0x80, 0, 0, 3, 0, 0x80,
        0, 0, 0x1e, 0x07, 0x8c, 0x18, 0xcb,
    ]
    var record = ByteBuffer()
    try? AVCDecoderConfiguration(
        sequenceParameterSets: [ByteBuffer(bytes: sps)],
        pictureParameterSets: [ByteBuffer(bytes: [0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0])]
    ).write(into: &record)
    return try? Track(codec: .h264, parsingConfiguration: record)
}

/// Any bytes, whole and in steps: both must give the same events.
private func publish(_ input: ByteBuffer, step: Int) {
    let whole = events(of: input, step: .max)
    let stepped = events(of: input, step: step)
    precondition(whole == stepped, "\(whole.count) events at once, \(stepped.count) in steps of \(step)")
}

/// A stream of which packets are lost, doubled and marked as damaged: each byte says what becomes of the next packet. No
/// picture may come out that was not sent, and behind a gap only a keyframe.
private func damage(_ input: ByteBuffer) {
    var input = input
    var stream = ByteBuffer()
    var rest = good
    while var packet = rest.readSlice(length: 188) {
        switch (input.readInteger(as: UInt8.self) ?? 7) % 8 {
        case 0: continue
        case 1:
            stream.writeImmutableBuffer(packet)
            stream.writeImmutableBuffer(packet)
        case 2:
            let flags = packet.getInteger(at: packet.readerIndex + 1, as: UInt8.self) ?? 0
            packet.setInteger(flags | 0x80, at: packet.readerIndex + 1)
            stream.writeImmutableBuffer(packet)
        case 3:
            let flags = packet.getInteger(at: packet.readerIndex + 3, as: UInt8.self) ?? 0
            packet.setInteger(flags | 0x80, at: packet.readerIndex + 3)
            stream.writeImmutableBuffer(packet)
        default: stream.writeImmutableBuffer(packet)
        }
    }
    var last: Int?
    for case .frame(let frame) in events(of: stream, step: 1_316) {
        let number = Int((frame.dts.ticks - 126_000) / 3_600)
        precondition((0..<pictures).contains(number), "picture \(number)")
        precondition(frame.payload == picture(number).payload, "picture \(number) is damaged")
        precondition(frame.isKeyframe || last == number - 1, "picture \(number) behind \(last ?? -1)")
        last = number
    }
}

/// Any packets: each program's stream is whole packets of those that came.
private func split(_ input: ByteBuffer) {
    var splitter = TSProgramSplitter()
    var input = input
    var packets = ByteBuffer()
    while let (pid, length) = input.readMultipleIntegers(as: (UInt16, UInt8).self) {
        guard let piece = input.readSlice(length: min(Int(length), 184, input.readableBytes)) else { break }
        packets.writeMultipleIntegers(UInt8(0x47), pid, UInt8(0x10))
        packets.writeImmutableBuffer(piece)
        packets.writeRepeatingByte(0xFF, count: 184 - piece.readableBytes)
    }
    for (_, part) in splitter.receive(packets) {
        precondition(part.readableBytes % 188 == 0 && part.readableBytes <= packets.readableBytes)
    }
    precondition(splitter.programNumbers.count <= TSProgramSplitter.maximumPrograms)
}

private func readDatagram(_ input: ByteBuffer) {
    guard let datagram = try? TSDatagram(input) else { return }
    precondition(datagram.packets.readableBytes % 188 == 0 && datagram.packets.readableBytes > 0)
    precondition(datagram.packets.readableBytes + datagram.excess <= input.readableBytes)
    precondition(datagram.packets.getInteger(at: datagram.packets.readerIndex, as: UInt8.self) == 0x47)
}

private func events(of input: ByteBuffer, step: Int) -> [MediaEvent] {
    var configuration = TSPublication.Configuration()
    configuration.demuxer.maximumAccessUnitLength = 4_096
    var publication = TSPublication(configuration: configuration)
    var events: [MediaEvent] = []
    var rest = input
    while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
        events += publication.receive(piece, now: .uptimeNanoseconds(0))
    }
    events += publication.finish()
    precondition(publication.takeNotices().count <= 32)
    return events
}
