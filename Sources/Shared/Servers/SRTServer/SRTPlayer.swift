import MPEGTS
import NIOCore
import SRTAccess
import StreamHub
import Streaming
import Synchronization

/// One player's place in a stream: a cursor into the shared slabs of its group.
///
/// The library's buffer is its queue, and drops by itself what would come too late. What does not fit waits in the ring.
// Safety: touched on its worker's loop only; others pass the reference on.
final class SRTPlayer: @unchecked Sendable {
    enum Phase {
        /// Not in a group, or the group waits for a start point.
        case waiting
        case following
        case ended
    }

    let socket: SRTSocket
    private let account: SessionAccount?
    private let sentCount = Atomic<UInt64>(0)
    /// Called once, on the worker's loop.
    private let onEnd: @Sendable (ViewerEnd) -> Void
    /// The most bytes of a message: whole packets of the transport stream.
    let messageBytes: Int

    // The cursor. The group owns these.
    var phase = Phase.waiting
    var index = -1
    /// The next slab to send, and how much of it was sent.
    var position: UInt64 = 0
    var offset = 0
    var needsPrelude = true
    /// What comes before the slab, as far as it was not sent.
    var prelude = ByteBuffer()
    var catchUpEnd: UInt64 = 0
    var catchUpDeadline = NIODeadline.uptimeNanoseconds(0)
    var skips = SkipHistory()
    /// Messages that the library gave up because they were late, at the last look.
    private var seenDrops: Int64 = 0
    private(set) weak var group: SRTFanOutGroup?

    init(
        socket: SRTSocket, messageBytes: Int, account: SessionAccount?, onEnd: @escaping @Sendable (ViewerEnd) -> Void
    ) {
        precondition(
            messageBytes > 0 && messageBytes % TS.packetLength == 0, "a message is whole packets, got \(messageBytes)")
        self.socket = socket
        self.messageBytes = messageBytes
        self.account = account
        self.onEnd = onEnd
    }

    func join(_ group: SRTFanOutGroup) { self.group = group }

    /// Bytes that the library took. Any thread may ask.
    var sentBytes: UInt64 { self.sentCount.load(ordering: .relaxed) }

    func sent(_ count: Int) {
        self.sentCount.wrappingAdd(UInt64(count), ordering: .relaxed)
        self.account?.sent(count)
    }

    /// The library counted so many messages, from the beginning, that came too late to be sent. Returns whether they grew.
    func noteDrops(_ drops: Int64) -> Bool {
        defer { self.seenDrops = max(self.seenDrops, drops) }
        return drops > self.seenDrops
    }

    /// Leaves the stream. Nobody is told.
    func leave() {
        guard self.phase != .ended else { return }
        self.phase = .ended
        self.group?.remove(self)
        self.group = nil
    }

    /// Leaves the stream and tells the session.
    func end(_ reason: ViewerEnd) {
        guard self.phase != .ended else { return }
        self.leave()
        self.onEnd(reason)
    }
}
