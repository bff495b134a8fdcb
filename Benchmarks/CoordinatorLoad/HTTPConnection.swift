import Glibc

/// The monotonic clock in nanoseconds: the one clock of this program.
func monotonicNanos() -> UInt64 {
    var time = timespec()
    // Safety: the kernel fills the structure, which outlives the call.
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Why a request came to nothing.
enum RequestError: Error, Equatable {
    case system(call: String, errno: Int32)
    /// The server closed the connection, or its answer cannot be read.
    case closed
    case malformed
    case status(Int, body: String)
}

/// One blocking HTTP/1.1 connection that asks one request after the other. Not shared between threads.
final class HTTPConnection {
    struct Answer {
        var status: Int
        var body: [UInt8]
    }

    private let port: UInt16
    private var descriptor: Int32 = -1
    private var buffer = [UInt8](repeating: 0, count: 64 << 10)
    private var pending: [UInt8] = []

    init(port: UInt16) { self.port = port }

    deinit { self.close() }

    func close() {
        if self.descriptor >= 0 { Glibc.close(self.descriptor) }
        self.descriptor = -1
        self.pending = []
    }

    private func connect() throws(RequestError) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw .system(call: "socket", errno: errno) }
        var one: Int32 = 1
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = self.port.bigEndian
        target.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        // Safety: each value is of the type that its option or address family reads, and outlives its call.
        let status = unsafe withUnsafePointer(to: &target) { pointer in
            unsafe setsockopt(
                descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
            unsafe setsockopt(
                descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            return unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                unsafe Glibc.connect(descriptor, generic, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else {
            let code = errno
            Glibc.close(descriptor)
            throw .system(call: "connect", errno: code)
        }
        self.descriptor = descriptor
    }

    /// Sends `request`, which is complete, and reads the answer.
    func ask(_ request: [UInt8]) throws(RequestError) -> Answer {
        try self.send(request)
        do throws(RequestError) {
            return try self.readAnswer()
        } catch {
            self.close()
            throw error
        }
    }

    /// Sends `request` and reads nothing.
    func send(_ request: [UInt8]) throws(RequestError) {
        if self.descriptor < 0 { try self.connect() }
        var sent = 0
        while sent < request.count {
            // Safety: the kernel reads from `sent` to the end of the array, which outlives the call.
            let count = unsafe request.withUnsafeBytes { bytes in
                unsafe Glibc.send(
                    self.descriptor, bytes.baseAddress.map { unsafe $0 + sent }, bytes.count - sent,
                    Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else {
                let code = errno
                self.close()
                throw .system(call: "send", errno: code)
            }
            sent += count
        }
    }

    /// Reads what comes and throws it away, until the connection ends or `isOver`. Returns the number of bytes.
    func discard(until isOver: () -> Bool) -> Int {
        var total = 0
        while !isOver() {
            let count = recv(self.descriptor, nil, 1 << 20, Int32(MSG_TRUNC))
            guard count > 0 else { break }
            total += count
        }
        return total
    }

    private func fill() throws(RequestError) {
        let descriptor = self.descriptor
        // Safety: the kernel writes at most as many bytes as the array has.
        let count = unsafe self.buffer.withUnsafeMutableBytes { bytes in
            unsafe recv(descriptor, bytes.baseAddress, bytes.count, 0)
        }
        guard count >= 0 else { throw .system(call: "recv", errno: errno) }
        guard count > 0 else { throw .closed }
        self.pending += self.buffer[..<count]
    }

    private func readAnswer() throws(RequestError) -> Answer {
        var end = Self.endOfHead(self.pending)
        while end == nil {
            guard self.pending.count < 1 << 16 else { throw .malformed }
            try self.fill()
            end = Self.endOfHead(self.pending)
        }
        guard let end else { throw .malformed }
        let head = String(decoding: self.pending[..<end], as: UTF8.self).lowercased()
        let lines = head.split(separator: "\r\n")
        guard let status = lines.first?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
            throw .malformed
        }
        var length = 0
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            let value = parts[1].drop { $0 == " " }
            if parts[0] == "content-length" { length = Int(value) ?? 0 }
            // Every answer to what is asked here has a length.
            if parts[0] == "transfer-encoding" { throw .malformed }
        }
        let total = end + 4 + length
        while self.pending.count < total { try self.fill() }
        let body = Array(self.pending[(end + 4)..<total])
        self.pending.removeFirst(total)
        guard status < 400 else { throw .status(status, body: String(decoding: body.prefix(300), as: UTF8.self)) }
        return Answer(status: status, body: body)
    }

    private static func endOfHead(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        for index in 0...(bytes.count - 4)
        where bytes[index] == 13 && bytes[index + 1] == 10 && bytes[index + 2] == 13 && bytes[index + 3] == 10 {
            return index
        }
        return nil
    }
}
