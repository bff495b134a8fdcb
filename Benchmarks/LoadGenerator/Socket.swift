import Glibc
import Polling

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
