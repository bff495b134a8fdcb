import NIOCore
import SRTAccess

/// libFuzzer's entry: the first byte chooses what is read, the rest is its text.
@c(LLVMFuzzerTestOneInput)
public func fuzzSRTAccess(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    let input = unsafe Array(UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.first else { return 0 }
    let bytes = Array(input.dropFirst())
    switch choice % 3 {
    case 0: readStreamID(bytes)
    case 1: readStreamID(Array("#!::".utf8) + bytes)
    default: _ = try? SRTURL(parsing: "srt://" + String(decoding: bytes, as: UTF8.self))
    }
    return 0
}

/// What reads has a name, and what is written of it reads back as the same, as long as it is short enough.
private func readStreamID(_ bytes: [UInt8]) {
    guard let id = try? SRTStreamID(parsing: bytes) else { return }
    precondition(!id.app.isEmpty && !id.name.isEmpty, "a stream without a name")
    guard id.text.utf8.count <= SRTStreamID.maximumLength else { return }
    guard let again = try? SRTStreamID(parsing: Array(id.text.utf8)) else {
        preconditionFailure("\(id.text) does not read back")
    }
    precondition(again == id, "\(id) reads back as \(again)")
}
