import Glibc
import NIOCore

/// Writes slabs to sockets with one system call each.
///
/// Holds the message that several sockets get in turn. Confined to one event loop.
@safe struct SocketWriter: ~Copyable {
    enum Outcome {
        /// This many bytes were taken, all of them or fewer.
        case wrote(Int)
        case failed(errno: CInt)
    }

    /// The most slabs that one call writes.
    static let maximumParts = 64

    private let parts: UnsafeMutableBufferPointer<iovec>
    private var count = 0
    /// Bytes of all parts.
    private(set) var total = 0

    init() {
        unsafe self.parts = .allocate(capacity: Self.maximumParts)
    }

    deinit { unsafe self.parts.deallocate() }

    var isFull: Bool { self.count == Self.maximumParts }

    mutating func removeAll() {
        self.count = 0
        self.total = 0
    }

    /// Adds bytes from `offset` on. The buffer's owner must keep it alive and unchanged until `removeAll`.
    mutating func append(_ bytes: ByteBuffer, from offset: Int) {
        precondition(self.count < Self.maximumParts, "the message already has \(self.count) parts")
        unsafe bytes.withUnsafeReadableBytes { readable in
            // Safety: a ByteBuffer's storage is a heap block that stays where it is while someone holds the buffer and
            // nobody writes to it. Slabs are immutable and the ring holds them until the message was sent.
            unsafe self.parts[self.count] = iovec(
                iov_base: UnsafeMutableRawPointer(mutating: readable.baseAddress.map { unsafe $0 + offset }),
                iov_len: readable.count - offset)
        }
        self.count += 1
        self.total += bytes.readableBytes - offset
    }

    /// Writes the message to `descriptor`, which does not block.
    func write(to descriptor: CInt) -> Outcome {
        var message = unsafe msghdr()
        unsafe message.msg_iov = self.parts.baseAddress
        unsafe message.msg_iovlen = self.count
        while true {
            let written = unsafe sendmsg(descriptor, &message, CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT))
            if written >= 0 { return .wrote(written) }
            switch errno {
            case EINTR: continue
            case EAGAIN, ENOBUFS: return .wrote(0)
            default: return .failed(errno: errno)
            }
        }
    }
}
