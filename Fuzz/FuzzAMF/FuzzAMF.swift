import AMF
import Media
import NIOCore

/// Feeds bytes to both AMF decoders: the first byte picks AMF0 or AMF3, the rest is the message body.
///
/// What AMF0 accepts is written again and must read as a value again.
@c(LLVMFuzzerTestOneInput)
public func fuzzAMF(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let mode = input.readInteger(as: UInt8.self) else { return 0 }
    if mode & 1 == 0 {
        guard let values = try? AMF0.decode(input) else { return 0 }
        var output = ByteBuffer()
        AMF0.write(values, into: &output)
        let limits = AMFLimits(maximumDepth: 64, maximumValues: 1 << 20, maximumStringLength: 8 << 20)
        guard let again = try? AMF0.decode(output, limits: limits), again.count == values.count else {
            fatalError("what was written does not read")
        }
        for value in values {
            _ = StreamMetadata(amf: value)
        }
    } else {
        var decoder = AMF3Decoder(input)
        _ = try? decoder.rest()
    }
    return 0
}
