import Media
import NIOCore

/// libFuzzer's entry: the first byte chooses the parser, the rest is its input.
@c(LLVMFuzzerTestOneInput)
public func fuzzCodecHeaders(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    let codecs = Codec.allCases
    switch choice % 8 {
    case 0: parseRecord(codecs[Int(choice / 8) % codecs.count], input)
    case 1: _ = try? Track(codec: codecs[Int(choice / 8) % codecs.count], describedBy: input)
    case 2: _ = try? AVCSequenceParameterSet(parsing: input)
    case 3: _ = try? HEVCSequenceParameterSet(parsing: input)
    case 4: _ = try? AV1SequenceHeader(findingIn: input)
    case 5: rewrite(input)
    case 6: walk(input, lengthSize: Int(choice / 8) % 4 + 1)
    default: convert(input)
    }
    return 0
}

/// A track's record must parse again to the same track.
private func parseRecord(_ codec: Codec, _ input: ByteBuffer) {
    guard let track = try? Track(codec: codec, parsingConfiguration: input) else { return }
    guard let record = track.configuration else { return }
    let again = try? Track(codec: codec, parsingConfiguration: record)
    precondition(again == track, "\(codec): the kept record gives another track")
}

/// What is written of a parsed record must parse to an equal one.
private func rewrite(_ input: ByteBuffer) {
    var written = ByteBuffer()
    if let record = try? AVCDecoderConfiguration(parsing: input) {
        record.write(into: &written)
        let again = try? AVCDecoderConfiguration(parsing: written)
        precondition(again == record, "avcC")
    }
    written.clear()
    if let record = try? HEVCDecoderConfiguration(parsing: input) {
        record.write(into: &written)
        let again = try? HEVCDecoderConfiguration(parsing: written)
        precondition(again == record, "hvcC")
    }
    written.clear()
    if let config = try? AudioSpecificConfig(parsing: input), (try? config.write(into: &written)) != nil {
        let again = try? AudioSpecificConfig(parsing: written)
        precondition(again?.sampleRate == config.sampleRate && again?.objectType == config.objectType, "AAC")
    }
}

/// The walk must not yield more units than are valid.
private func walk(_ input: ByteBuffer, lengthSize: Int) {
    let units = LengthPrefixedNALUnits(input, lengthSize: lengthSize)
    let count = units.reduce(0) { sum, unit in
        precondition(unit.readableBytes > 0, "an empty unit was yielded")
        return sum + 1
    }
    _ = units.containsRandomAccessPoint(codec: .h264)
    _ = units.containsRandomAccessPoint(codec: .hevc)
    if let valid = try? units.validate() { precondition(count <= valid, "\(count) units of \(valid)") }
}

/// A byte stream that was rewritten must be valid and hold the same units.
private func convert(_ input: ByteBuffer) {
    let units = AnnexB.units(in: input)
    guard let converted = try? AnnexB.lengthPrefixed(input, lengthSize: 4) else { return }
    let walked = Array(LengthPrefixedNALUnits(converted, lengthSize: 4))
    precondition(walked == units, "\(walked.count) units of \(units.count)")
}
