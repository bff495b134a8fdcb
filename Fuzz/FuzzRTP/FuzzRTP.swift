import Media
import NIOCore
import RTP

/// libFuzzer's entry: the first byte chooses what is done, the rest is its input.
@c(LLVMFuzzerTestOneInput)
public func fuzzRTP(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    switch choice % 5 {
    case 0: readPacket(input)
    case 1: readCompound(input)
    case 2: readPayloads(input, format: formats[Int(choice / 5) % formats.count])
    case 3: writeFrame(input, format: formats[Int(choice / 5) % formats.count])
    default: readRedundancy(input)
    }
    return 0
}

private let formats: [RTPPayloadFormat] = [
    .h264(packetizationMode: 1), .hevc(usesDecodingOrderNumbers: false), .hevc(usesDecodingOrderNumbers: true), .vp8,
    .vp9, .av1, .opus, .g711ALaw(channels: 2), .aac(AACPayloadLayout(clockRate: 48_000)),
]

/// What is read is written the same, as far as it means anything: read again it is equal.
private func readPacket(_ input: ByteBuffer) {
    guard let packet = try? RTPPacket(parsing: input) else { return }
    var buffer = ByteBuffer()
    packet.write(into: &buffer)
    precondition(buffer.readableBytes == input.readableBytes)
    precondition((try? RTPPacket(parsing: buffer)) == packet)
    for element in packet.header.extensions.map(Array.init) ?? [] {
        _ = RTPAbsoluteSendTime(parsing: element.value)
        _ = RTPPlayoutDelay(parsing: element.value)
    }
}

private func readCompound(_ input: ByteBuffer) {
    guard let packets = try? RTCPPacket.parseCompound(input) else { return }
    precondition(packets.count <= RTCPPacket.defaultMaximumPackets)
    for packet in packets {
        switch packet {
        case .other, .malformed: continue
        case .nack(let nack): precondition(nack.sequenceNumbers.count <= RTCPNack.maximumSequenceNumbers)
        case .transportFeedback(let feedback):
            var count = 0
            feedback.forEachPacket { _, _ in count += 1 }
            precondition(count <= TransportFeedback.maximumStatuses)
            fallthrough
        default:
            var buffer = ByteBuffer()
            packet.write(into: &buffer)
            precondition((try? RTCPPacket.parseCompound(buffer)) == [packet], "\(packet)")
        }
    }
}

/// Each payload has a byte of flags and one of length in front.
private func readPayloads(_ input: ByteBuffer, format: RTPPayloadFormat) {
    var reader = RTPPayloadReader(format: format, maximumLength: 4096)
    let writer = RTPPayloadWriter(format: format, maximumPayload: 100)
    var rest = input
    var timestamp: UInt32 = 0
    while let (flags, length) = rest.readMultipleIntegers(as: (UInt8, UInt8).self) {
        guard let payload = rest.readSlice(length: min(Int(length), rest.readableBytes)) else { break }
        if flags & 2 != 0 { timestamp &+= 3000 }
        if flags & 4 != 0 { reader.packetsAreMissing() }
        reader.append(payload, marker: flags & 1 != 0, timestamp: timestamp)
        while let output = reader.nextOutput() {
            guard case .accessUnit(let unit) = output else { continue }
            precondition(unit.payload.readableBytes <= 4096 + 64)
            if format.codec == .h264 || format.codec == .hevc {
                precondition((try? LengthPrefixedNALUnits(unit.payload, lengthSize: 4).validate()) != nil)
            }
            // What came out can be sent on.
            _ = try? writer.payloads(of: unit.payload, isKeyframe: unit.isKeyframe)
        }
    }
}

/// A frame of any bytes: if it is cut up at all, its packets are within the limit and cover the buffer.
private func writeFrame(_ input: ByteBuffer, format: RTPPayloadFormat) {
    var input = input
    guard let (size, flags) = input.readMultipleIntegers(as: (UInt8, UInt8).self) else { return }
    let maximum = 64 + Int(size)
    let writer = RTPPayloadWriter(format: format, maximumPayload: maximum)
    guard let payloads = try? writer.payloads(of: input, isKeyframe: flags & 1 != 0) else { return }
    var end = 0
    for range in payloads.ranges {
        precondition(range.lowerBound == end && range.count <= maximum && !range.isEmpty)
        end = range.upperBound
    }
    precondition(end == payloads.buffer.readableBytes)
    precondition(payloads.equalSizedRuns.reduce(0) { $0 + $1.count } == payloads.ranges.count)
    var reader = RTPPayloadReader(format: format)
    for index in payloads.ranges.indices {
        reader.append(payloads.payload(at: index), marker: payloads.hasMarker(at: index), timestamp: 1)
    }
    while reader.nextOutput() != nil {}
}

private func readRedundancy(_ input: ByteBuffer) {
    if let red = try? REDPayload(parsing: input) {
        var buffer = ByteBuffer()
        red.write(into: &buffer)
        precondition(buffer == input)
    }
    if let (sequence, payload) = try? RTXPacket.unwrap(input) {
        var buffer = ByteBuffer()
        RTXPacket.write(originalSequenceNumber: sequence, payload: payload, into: &buffer)
        precondition(buffer == input)
    }
    _ = OpusPacket.duration(of: input)
    _ = try? VP9FrameHeader(parsing: input)
}
