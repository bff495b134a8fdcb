import MANSCDP
import NIOCore
import SIP

/// libFuzzer's entry: the first byte chooses what is done, the rest is its input.
@c(LLVMFuzzerTestOneInput)
public func fuzzSIP(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    switch choice % 4 {
    case 0: readConnection(input, step: Int(choice / 4) + 1)
    case 1: readDatagram(input)
    case 2: readDocument(input)
    default: readFields(String(decoding: input.readableBytesView, as: UTF8.self))
    }
    return 0
}

private let limits = SIPMessage.Limits(head: 2_048, fields: 16, body: 1_024)

/// The bytes whole and in steps: both must give the same messages, up to an error.
private func readConnection(_ input: ByteBuffer, step: Int) {
    let (whole, stepped) = (messages(input, step: .max), messages(input, step: step))
    precondition(whole.messages == stepped.messages, "\(whole) at once, \(stepped) in steps of \(step)")
}

private func messages(_ input: ByteBuffer, step: Int) -> (messages: [SIPMessage], error: SIPError?) {
    var reader = SIPMessageReader(limits: limits)
    var found: [SIPMessage] = []
    var rest = input
    do throws(SIPError) {
        while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
            reader.append(piece)
            while let message = try reader.next() { found.append(message) }
        }
    } catch {
        return (found, error)
    }
    return (found, nil)
}

/// What is read, and written, is read as the same.
private func readDatagram(_ input: ByteBuffer) {
    guard let message = try? SIPMessageReader.message(inDatagram: input, limits: limits) else { return }
    try? message.checkRequest()
    _ = (message.from, message.to, message.contact, message.via, message.sequence, message.expires)
    _ = message.response(200, "OK", tag: "t", receivedFrom: ("192.0.2.1", 5_060)).bytes
    let wide = SIPMessage.Limits(head: 1 << 20, fields: 64, body: 1 << 20)
    guard let again = try? SIPMessageReader.message(inDatagram: message.bytes, limits: wide) else {
        preconditionFailure("a message that was written cannot be read")
    }
    precondition(again.start == message.start && again.body == message.body)
}

private func readDocument(_ input: ByteBuffer) {
    let limits = XMLElement.Limits(length: 4_096, depth: 8, elements: 64)
    guard let element = try? XMLElement(parsing: input, limits: limits) else { return }
    if let message = MANSCDPMessage(element) {
        _ = (message.catalog(maximum: 8), message.recordings(maximum: 8), message.body)
        _ = (DeviceAlarm(message), DevicePosition(message), DeviceInformation(message), DeviceStatus(message))
    }
}

private func readFields(_ text: String) {
    if let address = SIPAddress(parsing: text) {
        guard let again = SIPAddress(parsing: address.text) else {
            preconditionFailure("an address that was written cannot be read")
        }
        precondition(again.uri.host == address.uri.host && again.uri.port == address.uri.port)
    }
    _ = (SIPVia(parsing: text), SIPSequence(parsing: text), SIPURI(parsing: text))
    _ = DeviceTime.seconds(parsing: text, offset: 28_800)
}
