import NIOCore
import RTMP

/// Feeds bytes to the chunk reader, or to a whole server session, in pieces: the first byte picks which one and how long
/// the pieces are, the rest is what the peer sends (for a session: after the handshake).
///
/// The reader must give the same messages for any cuts.
@c(LLVMFuzzerTestOneInput)
public func fuzzRTMP(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let mode = input.readInteger(as: UInt8.self) else { return 0 }
    let pieceLength = Int(mode >> 1) + 1
    if mode & 1 == 0 {
        let whole = readMessages(input, pieceLength: max(1, input.readableBytes))
        guard readMessages(input, pieceLength: pieceLength) == whole else {
            fatalError("the cuts change what is read")
        }
    } else {
        runSession(input, pieceLength: pieceLength)
    }
    return 0
}

private func readMessages(_ input: ByteBuffer, pieceLength: Int) -> [RTMPMessage] {
    var reader = RTMPChunkReader(limits: RTMPChunkLimits(maximumPartialBytes: 1 << 20))
    var messages: [RTMPMessage] = []
    var rest = input
    do {
        while let piece = rest.readSlice(length: min(pieceLength, rest.readableBytes)), piece.readableBytes > 0 {
            reader.receive(piece)
            while let message = try reader.nextMessage() {
                messages.append(message)
            }
        }
    } catch {
        return messages
    }
    return messages
}

/// Runs a session whose owner says yes to everything, and lets a second pass with each piece.
private func runSession(_ input: ByteBuffer, pieceLength: Int) {
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    var session = RTMPServerSession(
        configuration: RTMPSessionConfiguration(),
        randomBytes: ByteBuffer(repeating: 0x5A, count: RTMPServerSession.randomByteCount), now: now)
    var hello = ByteBuffer(integer: UInt8(3))
    hello.writeRepeatingByte(0, count: 2 * RTMPServerSession.randomByteCount)
    session.receive(hello, now: now)
    var rest = input
    while let piece = rest.readSlice(length: min(pieceLength, rest.readableBytes)), piece.readableBytes > 0 {
        now = now + .seconds(1)
        session.receive(piece, now: now)
        session.deadlineReached(now: now)
        while let output = session.nextOutput() {
            guard case .event(let event) = output else { continue }
            switch event {
            case .connectRequested: session.acceptConnect(now: now)
            case .publishRequested: session.acceptPublish(now: now)
            case .playRequested: session.acceptPlay(now: now)
            default: break
            }
        }
    }
}
