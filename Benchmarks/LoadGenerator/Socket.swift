import CEpoll
import Glibc

/// The monotonic clock in nanoseconds: the one clock of this program.
func monotonicNanos() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Why a system call failed, with its `errno`.
struct SystemError: Error, Equatable, CustomStringConvertible {
    let call: String
    let code: Int32

    /// Captures `errno` right after `call` failed.
    init(_ call: String) {
        self.call = call
        self.code = errno
    }

    var description: String { "\(self.call): \(systemErrorText(self.code))" }
}

/// The kernel's words for an `errno`.
func systemErrorText(_ code: Int32) -> String {
    // Safety: `strerror` gives a terminated string, which is copied before anything else runs in this one thread.
    unsafe String(cString: strerror(code))
}

/// One non-blocking TCP connection to a numeric IPv4 address.
struct Socket: Equatable {
    /// What one receive found.
    enum Received: Equatable {
        case bytes(Int)
        case nothing
        case closed
        case failed(Int32)
    }

    let descriptor: Int32

    /// Starts to connect; the socket becomes writable when it is connected.
    init(address: Endpoint.Address) throws(SystemError) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw SystemError("socket") }
        self.descriptor = descriptor
        var one: Int32 = 1
        unsafe setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = address.port.bigEndian
        target.sin_addr.s_addr = address.host.bigEndian
        // Safety: a `sockaddr_in` is what AF_INET's `connect` reads, and it outlives the call.
        let status = unsafe withUnsafePointer(to: &target) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                unsafe connect(descriptor, generic, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 || errno == EINPROGRESS else {
            let error = SystemError("connect")
            Glibc.close(descriptor)
            throw error
        }
    }

    /// Reads what is there, at most `buffer.count` bytes, into `buffer`.
    func receive(into buffer: inout [UInt8]) -> Received {
        // Safety: the kernel writes at most `count` bytes into the array's storage.
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe recv(self.descriptor, bytes.baseAddress, bytes.count, 0)
        }
        return Self.result(count)
    }

    /// Throws away what is there without copying it, at most `limit` bytes (tcp(7), `MSG_TRUNC`).
    func discard(limit: Int) -> Received {
        Self.result(recv(self.descriptor, nil, limit, Int32(MSG_TRUNC)))
    }

    /// Sends bytes from `offset` on. Returns how many the kernel took, 0 when the socket is full.
    func send(_ bytes: [UInt8], from offset: Int) throws(SystemError) -> Int {
        // Safety: `offset` is within the array, and the kernel only reads up to its end.
        let count = unsafe bytes.withUnsafeBytes { source in
            let part = unsafe UnsafeRawBufferPointer(rebasing: source[offset...])
            return unsafe Glibc.send(
                self.descriptor, part.baseAddress, part.count, Int32(MSG_NOSIGNAL))
        }
        if count >= 0 { return count }
        guard errno == EAGAIN || errno == EINTR else { throw SystemError("send") }
        return 0
    }

    func close() {
        Glibc.close(self.descriptor)
    }

    private static func result(_ count: Int) -> Received {
        if count > 0 { return .bytes(count) }
        if count == 0 { return .closed }
        return errno == EAGAIN || errno == EINTR ? .nothing : .failed(errno)
    }
}

/// A level-triggered epoll set; each socket is known by a number of the owner's.
struct Poller: ~Copyable {
    struct Event {
        let token: Int
        let readable: Bool
        let writable: Bool
    }

    private static let broken = EPOLLERR.rawValue | EPOLLHUP.rawValue

    private let descriptor: Int32
    /// Event masks and tokens, as `cepollWait` packs them.
    private var ready = [UInt64](repeating: 0, count: Int(cepollCapacity))

    init() throws(SystemError) {
        self.descriptor = epoll_create1(0)
        guard self.descriptor >= 0 else { throw SystemError("epoll_create1") }
    }

    deinit {
        Glibc.close(self.descriptor)
    }

    func add(_ socket: Socket, token: Int, writable: Bool) throws(SystemError) {
        try self.control(EPOLL_CTL_ADD, socket, token: token, writable: writable)
    }

    func modify(_ socket: Socket, token: Int, writable: Bool) throws(SystemError) {
        try self.control(EPOLL_CTL_MOD, socket, token: token, writable: writable)
    }

    func remove(_ socket: Socket) {
        cepollControl(self.descriptor, EPOLL_CTL_DEL, socket.descriptor, 0, 0)
    }

    /// Waits up to `timeoutMillis` and returns how many events `event(at:)` can be asked for.
    mutating func wait(timeoutMillis: Int32) -> Int {
        // Safety: the array holds `cepollCapacity` numbers, which is the most that the call writes.
        let count = unsafe cepollWait(self.descriptor, &self.ready, timeoutMillis)
        return max(0, Int(count))
    }

    func event(at index: Int) -> Event {
        let mask = UInt32(self.ready[index] >> 32)
        return Event(
            token: Int(self.ready[index] & 0xFFFF_FFFF),
            readable: mask & (EPOLLIN.rawValue | Self.broken) != 0,
            writable: mask & (EPOLLOUT.rawValue | Self.broken) != 0)
    }

    private func control(
        _ operation: Int32, _ socket: Socket, token: Int, writable: Bool
    ) throws(SystemError) {
        let events = EPOLLIN.rawValue | (writable ? EPOLLOUT.rawValue : 0)
        guard cepollControl(self.descriptor, operation, socket.descriptor, events, UInt32(token)) == 0 else {
            throw SystemError("epoll_ctl")
        }
    }
}
