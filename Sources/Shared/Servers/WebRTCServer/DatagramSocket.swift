import CLinux
import Glibc
import NIOCore

/// Where a datagram goes, and from which local address.
struct DatagramPath: Equatable {
    var peer: RawAddress
    var source = PacketInfo()

    init(to peer: PeerAddress, from local: PeerAddress? = nil) {
        self.peer = RawAddress(peer)
        if let local { self.source = local.packetInfo }
    }
}

/// What a socket sent and could not send.
struct DatagramCounters: Sendable, Hashable {
    var datagrams: UInt64 = 0
    var bytes: UInt64 = 0
    /// Of one datagram, or of several that the kernel cuts.
    var sends: UInt64 = 0
    /// Calls of the kernel.
    var calls: UInt64 = 0
    /// Sends that had to wait until the socket took more.
    var delayed: UInt64 = 0
    /// Dropped because the socket did not take more in time.
    var dropped: UInt64 = 0
    /// Dropped because the kernel refused the datagram.
    var failed: UInt64 = 0
}

/// Sends datagrams from one UDP socket, many with one call, behind the back of the channel that reads it.
///
/// Packets are encrypted right into the room that `reserve` gives; `commit` queues them, and `flush` sends everything that
/// was queued. What the kernel does not take waits a few milliseconds, up to a bound. Confined to one event loop.
@safe final class DatagramSocket {
    /// The kernel cuts at most so many datagrams from one send (UDP_MAX_SEGMENTS).
    static let maximumSegments = 64
    /// An IPv4 datagram has at most 65,507 bytes of payload, whether it will be cut or not.
    static let maximumSendBytes = 65_000
    /// The most bytes and the longest time that datagrams wait for the socket.
    private static let maximumBacklogBytes = 2 << 20
    private static let backlogLifetime = TimeAmount.milliseconds(40)
    private static let capacity = 256 << 10

    let loop: any EventLoop
    private var descriptor: CInt
    private let room: UnsafeMutableRawPointer
    private let queue: UnsafeMutablePointer<weir_datagram>
    private let paths: UnsafeMutablePointer<DatagramPath>
    private var used = 0
    private var count = 0
    private var backlog = Backlog()
    /// Whether sends of several datagrams are worth a try.
    private(set) var usesSegmentation: Bool
    private(set) var counters = DatagramCounters()
    /// So many sends in a row were refused that the kernel was to cut.
    private var refusedSegmentations = 0

    private struct Backlog {
        var sends: [(bytes: ByteBuffer, segment: UInt16, path: DatagramPath, deadline: NIODeadline)] = []
        var bytes = 0
        var isWaiting = false
    }

    /// `descriptor` is that of a socket that does not block; `close` must be called before it is closed.
    init(descriptor: CInt, loop: any EventLoop, usesSegmentation: Bool) {
        self.descriptor = descriptor
        self.loop = loop
        self.usesSegmentation = usesSegmentation
        unsafe self.room = .allocate(byteCount: Self.capacity, alignment: 64)
        unsafe self.queue = .allocate(capacity: Int(WEIR_MAXIMUM_DATAGRAMS))
        unsafe self.paths = .allocate(capacity: Int(WEIR_MAXIMUM_DATAGRAMS))
    }

    deinit {
        unsafe self.room.deallocate()
        unsafe self.queue.deallocate()
        unsafe self.paths.deallocate()
    }

    /// The socket is about to be closed: nothing is sent any more.
    func close() {
        self.descriptor = -1
        self.backlog = Backlog()
        self.used = 0
        self.count = 0
    }

    // MARK: Queueing

    /// Room for `byteCount` bytes, at most `maximumSendBytes`, until the next call of this object.
    func reserve(_ byteCount: Int) -> UnsafeMutableRawBufferPointer {
        precondition(byteCount <= Self.maximumSendBytes, "a send has at most \(Self.maximumSendBytes) bytes")
        if self.used + byteCount > Self.capacity || self.count == WEIR_MAXIMUM_DATAGRAMS { self.flush() }
        return unsafe UnsafeMutableRawBufferPointer(start: self.room + self.used, count: byteCount)
    }

    /// Queues the first `length` bytes of the room that was reserved last. `segment` > 0: they are datagrams of that many
    /// bytes, but for the last, which may be shorter; at most `maximumSegments`.
    func commit(_ length: Int, segment: Int = 0, to path: DatagramPath) {
        guard length > 0 else { return }
        precondition(
            self.count < WEIR_MAXIMUM_DATAGRAMS && self.used + length <= Self.capacity, "nothing was reserved")
        let isCut = segment > 0 && length > segment
        let datagrams = isCut ? (length + segment - 1) / segment : 1
        if isCut, !self.usesSegmentation || datagrams > Self.maximumSegments {
            return self.commitPieces(length, segment: segment, to: path)
        }
        if !isCut, self.join(length, to: path) { return }
        self.enqueue(at: self.used, length, segment: isCut ? segment : 0, path)
        // Rounded up, so that no two sends share a cache line.
        self.used = min(Self.capacity, (self.used + length + 63) & ~63)
    }

    /// Adds the datagram in the room that was reserved last to the send in front of it, if that goes the same way and the
    /// kernel can still cut it: all its datagrams have one size, and this one is no longer. A packet costs nearly nothing
    /// then, and as much as a whole picture otherwise.
    private func join(_ length: Int, to path: DatagramPath) -> Bool {
        guard self.usesSegmentation, self.count > 0, unsafe self.paths[self.count - 1] == path else { return false }
        let last = unsafe self.queue + (self.count - 1)
        let (queued, cut, bytes) = unsafe (last.pointee.length, Int(last.pointee.segment), last.pointee.bytes)
        let size = cut > 0 ? cut : queued
        guard let bytes = unsafe bytes, length <= size, queued % size == 0, queued / size < Self.maximumSegments,
            queued + length <= Self.maximumSendBytes
        else { return false }
        let end = unsafe bytes - UnsafeRawPointer(self.room) + queued
        // Safety: the send ends at or before `used`, where the datagram is.
        unsafe memmove(self.room + end, self.room + self.used, length)
        unsafe last.pointee.length = queued + length
        unsafe last.pointee.segment = UInt16(size)
        self.used = min(Self.capacity, (end + length + 63) & ~63)
        return true
    }

    /// Queues a copy of `bytes` as one datagram.
    func send(_ bytes: ByteBuffer, to path: DatagramPath) {
        let length = bytes.readableBytes
        guard length > 0, length <= Self.maximumSendBytes else { return }
        let room = unsafe self.reserve(length)
        unsafe bytes.withUnsafeReadableBytes { unsafe room.copyMemory(from: $0) }
        self.commit(length, to: path)
    }

    private func commitPieces(_ length: Int, segment: Int, to path: DatagramPath) {
        let start = self.used
        self.used = min(Self.capacity, (start + length + 63) & ~63)
        var offset = 0
        while offset < length {
            if self.count == WEIR_MAXIMUM_DATAGRAMS {
                // What is left stays where it is: sending moves nothing.
                self.transmit()
            }
            let piece = min(segment, length - offset)
            self.enqueue(at: start + offset, piece, segment: 0, path)
            offset += piece
        }
    }

    private func enqueue(at offset: Int, _ length: Int, segment: Int, _ path: DatagramPath) {
        let index = self.count
        unsafe (self.paths + index).initialize(to: path)
        var datagram = unsafe weir_datagram()
        unsafe datagram.bytes = UnsafeRawPointer(self.room + offset)
        unsafe datagram.length = length
        unsafe datagram.segment = UInt16(segment)
        // Safety: both point into the record of the path, which stays where it is until the queue is sent.
        unsafe datagram.peer = UnsafeRawPointer(self.paths + index)
        unsafe datagram.peer_length = path.peer.length
        unsafe datagram.source =
            UnsafeRawPointer(self.paths + index) + (MemoryLayout<DatagramPath>.offset(of: \.source) ?? 0)
        unsafe datagram.source_length = path.source.length
        unsafe (self.queue + index).initialize(to: datagram)
        self.count += 1
    }

    // MARK: Sending

    /// Sends what is queued.
    func flush() {
        guard self.count > 0 else { return }
        self.transmit()
        self.used = 0
    }

    /// Sends what is queued; its bytes stay where they are.
    private func transmit() {
        defer { self.count = 0 }
        guard self.descriptor >= 0 else { return }
        // What waits must not be overtaken.
        guard self.backlog.sends.isEmpty else { return self.keep(from: 0) }
        var next = 0
        while next < self.count {
            let sent = Int(unsafe weir_send_datagrams(self.descriptor, self.queue + next, CInt(self.count - next)))
            self.counters.calls += 1
            if sent > 0 {
                for index in next..<next + sent { self.count(index) }
                next += sent
                continue
            }
            switch CInt(-sent) {
            case EAGAIN, ENOBUFS, ENOMEM:
                return self.keep(from: next)
            case let code where unsafe self.queue[next].segment > 0 && Self.isSegmentationRefused(code):
                self.segmentationRefused(code)
                self.sendPieces(of: next)
            default:
                self.counters.failed += 1
            }
            next += 1
        }
    }

    private static func isSegmentationRefused(_ code: CInt) -> Bool {
        [EINVAL, EIO, EMSGSIZE, EOPNOTSUPP, ENOPROTOOPT].contains(code)
    }

    private func count(_ index: Int) {
        let (length, segment) = unsafe (self.queue[index].length, Int(self.queue[index].segment))
        if segment > 0 { self.refusedSegmentations = 0 }
        self.counters.sends += 1
        self.counters.datagrams += segment > 0 ? UInt64((length + segment - 1) / segment) : 1
        self.counters.bytes += UInt64(length)
    }

    /// A device that cannot compute checksums says EIO; one whose MTU is too small for a peer says EINVAL.
    private func segmentationRefused(_ code: CInt) {
        self.refusedSegmentations += 1
        if code != EINVAL && code != EMSGSIZE || self.refusedSegmentations >= 16 { self.usesSegmentation = false }
    }

    private func sendPieces(of index: Int) {
        var whole = unsafe self.queue[index]
        let (length, segment) = unsafe (whole.length, Int(whole.segment))
        var offset = 0
        while offset < length {
            let piece = min(segment, length - offset)
            unsafe whole.bytes = self.queue[index].bytes + offset
            unsafe whole.length = piece
            unsafe whole.segment = 0
            let sent = unsafe weir_send_datagrams(self.descriptor, &whole, 1)
            self.counters.calls += 1
            if sent > 0 {
                self.counters.sends += 1
                self.counters.datagrams += 1
                self.counters.bytes += UInt64(piece)
            } else {
                self.counters.failed += 1
            }
            offset += piece
        }
    }

    // MARK: Waiting

    private func keep(from index: Int) {
        let deadline = NIODeadline.now() + Self.backlogLifetime
        for index in index..<self.count {
            let datagram = unsafe self.queue[index]
            let length = unsafe datagram.length
            guard self.backlog.bytes + length <= Self.maximumBacklogBytes else {
                self.counters.dropped += 1
                continue
            }
            self.counters.delayed += 1
            let bytes = unsafe ByteBuffer(bytes: UnsafeRawBufferPointer(start: datagram.bytes, count: length))
            self.backlog.bytes += length
            let (segment, path) = unsafe (datagram.segment, self.paths[index])
            self.backlog.sends.append((bytes, segment, path, deadline))
        }
        self.waitForRoom()
    }

    /// A full socket is one whose device is busy for milliseconds: asking again is cheap, and needs nothing of the channel.
    private func waitForRoom() {
        guard !self.backlog.isWaiting, !self.backlog.sends.isEmpty else { return }
        self.backlog.isWaiting = true
        self.loop.assumeIsolated().scheduleTask(in: .milliseconds(1)) { [weak self] in
            guard let self else { return }
            self.backlog.isWaiting = false
            self.retry(now: .now())
        }
    }

    private func retry(now: NIODeadline) {
        guard self.descriptor >= 0, !self.backlog.sends.isEmpty else { return }
        let waiting = self.backlog.sends
        self.backlog.sends = []
        self.backlog.bytes = 0
        for (position, send) in waiting.enumerated() {
            guard send.deadline > now else {
                self.counters.dropped += 1
                continue
            }
            guard self.sendNow(send.bytes, segment: send.segment, send.path) else {
                self.backlog.sends = Array(waiting[position...])
                self.backlog.bytes = self.backlog.sends.reduce(0) { $0 + $1.bytes.readableBytes }
                break
            }
        }
        self.waitForRoom()
    }

    /// Returns false if the socket is still full.
    private func sendNow(_ bytes: ByteBuffer, segment: UInt16, _ path: DatagramPath) -> Bool {
        let sent = unsafe withUnsafePointer(to: path) { path in
            unsafe bytes.withUnsafeReadableBytes { readable in
                var datagram = unsafe weir_datagram()
                unsafe datagram.bytes = readable.baseAddress.map { unsafe UnsafeRawPointer($0) }
                unsafe datagram.length = readable.count
                unsafe datagram.segment = segment
                unsafe datagram.peer = UnsafeRawPointer(path)
                unsafe datagram.peer_length = path.pointee.peer.length
                unsafe datagram.source =
                    UnsafeRawPointer(path) + (MemoryLayout<DatagramPath>.offset(of: \.source) ?? 0)
                unsafe datagram.source_length = path.pointee.source.length
                return unsafe weir_send_datagrams(self.descriptor, &datagram, 1)
            }
        }
        self.counters.calls += 1
        if sent > 0 {
            self.counters.sends += 1
            self.counters.datagrams += segment > 0 ? UInt64((bytes.readableBytes - 1) / Int(segment) + 1) : 1
            self.counters.bytes += UInt64(bytes.readableBytes)
            return true
        }
        if [EAGAIN, ENOBUFS, ENOMEM].contains(-sent) { return false }
        self.counters.failed += 1
        return true
    }
}
