import NIOCore
import STUN

/// libFuzzer's entry: the first byte chooses whether the rest is a message or its attributes.
@c(LLVMFuzzerTestOneInput)
public func fuzzSTUN(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    if choice % 2 == 0 {
        read(input)
    } else {
        // A header that is right lets every input reach the attributes.
        let length = input.readableBytes & ~3 & 0xFFFC
        var message = ByteBuffer()
        message.writeMultipleIntegers(
            UInt16(1), UInt16(length), STUNMessage.magicCookie, UInt32(choice), UInt64(length))
        message.writeBytes(input.readableBytesView.prefix(length))
        read(message)
    }
    return 0
}

private func read(_ datagram: ByteBuffer) {
    let name = STUNMessage.username(of: datagram)
    guard let message = try? STUNMessage(parsing: datagram) else { return }
    // Methods beyond one byte collide with other protocols of a shared port, where nobody uses them.
    precondition(
        STUNMessage.isSTUN(datagram) == (message.method.rawValue < 0x100), "a message that does not look like one")
    if let username = message.username {
        precondition(name == username || message.messageClass != .request || message.method != .binding)
    }
    _ = (message.priority, message.iceControlling, message.iceControlled, message.hasUseCandidate, message.errorCode)
    _ = (message.xorMappedAddress, message.unknownRequiredAttributes(known: [.username]))
    _ = message.hasValidIntegrity(in: datagram, password: "password")
    writeAgain(message)
}

/// Without checksums, a message that is read, written and read again is the same.
private func writeAgain(_ message: STUNMessage) {
    let attributes = message.attributes.filter { $0.type != .messageIntegrity && $0.type != .fingerprint }
    guard attributes.reduce(0, { $0 + $1.value.readableBytes + 8 }) < 60_000, attributes.count < 60 else { return }
    let copy = STUNMessage(
        message.messageClass, method: message.method, transactionID: message.transactionID, attributes: attributes)
    let written = copy.write(password: "password")
    guard let again = try? STUNMessage(parsing: written) else { preconditionFailure("a written message was not read") }
    precondition(again.hasValidIntegrity(in: written, password: "password"), "wrong integrity")
    precondition(Array(again.attributes.dropLast(2)) == attributes, "other attributes")
}
