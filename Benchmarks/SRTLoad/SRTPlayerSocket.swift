import CSRT
import Glibc

/// Where players call: an IPv4 address and a port.
struct SRTServerAddress: Equatable {
    /// In host byte order.
    let host: UInt32
    let port: UInt16

    /// Takes `a.b.c.d:port` apart; `nil` when it is anything else.
    init?(_ text: String) {
        let halves = text.split(separator: ":", omittingEmptySubsequences: false)
        guard halves.count == 2, let port = UInt16(halves[1]) else { return nil }
        let numbers = halves[0].split(separator: ".", omittingEmptySubsequences: false).compactMap { UInt8($0) }
        guard numbers.count == 4 else { return nil }
        self.host = numbers.reduce(0) { $0 << 8 | UInt32($1) }
        self.port = port
    }
}

/// A call of the library that failed.
struct SRTFailure: Error, CustomStringConvertible {
    let call: String
    let text: String

    /// Asks for the last error of this thread.
    init(_ call: String) {
        self.call = call
        // Safety: the library returns a text that is its own and ends with a zero; it is copied at once.
        self.text = unsafe srt_getlasterror_str().map { unsafe String(cString: $0) } ?? "unknown"
    }

    var description: String { "\(self.call): \(self.text)" }
}

/// One socket of the library that calls a server. Calls never block.
struct SRTPlayerSocket {
    enum Received {
        case bytes(Int)
        case nothing
        case lost
    }

    let id: SRTSOCKET

    /// Begins to call. Players with one `localPort` share its UDP socket; 0 makes a new one.
    init(plan: SRTLoadPlan, localPort: UInt16) throws {
        self.id = srt_create_socket()
        guard self.id >= 0 else { throw SRTFailure("srt_create_socket") }
        try self.set(SRTO_SNDSYN, false)
        try self.set(SRTO_RCVSYN, false)
        try self.set(SRTO_REUSEADDR, true)
        try self.set(SRTO_LATENCY, plan.latencyMillis)
        try self.set(SRTO_CONNTIMEO, Int32(10_000))
        try self.set(SRTO_UDP_RCVBUF, Int32(8 << 20))
        try self.set(SRTO_STREAMID, plan.streamID)
        if let passphrase = plan.passphrase { try self.set(SRTO_PASSPHRASE, passphrase) }
        // Safety: the library copies the address during the call.
        try unsafe Self.with(host: 0, port: localPort) { address, length in
            guard unsafe srt_bind(self.id, address, length) >= 0 else { throw SRTFailure("srt_bind") }
        }
    }

    func connect(_ server: SRTServerAddress) throws {
        // Safety: the library copies the address during the call.
        try unsafe Self.with(host: server.host, port: server.port) { address, length in
            guard unsafe srt_connect(self.id, address, length) >= 0 else { throw SRTFailure("srt_connect") }
        }
    }

    private static func with(
        host: UInt32, port: UInt16, _ body: (UnsafePointer<sockaddr>, CInt) throws -> Void
    ) throws {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = host.bigEndian
        // Safety: a `sockaddr_in` is what an address of AF_INET is, and it outlives the call.
        try unsafe withUnsafePointer(to: &address) { pointer in
            try unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                try unsafe body(generic, CInt(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    /// The local port, in host byte order; 0 before the socket is bound.
    var localPort: UInt16 {
        var address = sockaddr_in()
        // Safety: the socket is of IPv4, and the size is told.
        let result = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                var length = CInt(MemoryLayout<sockaddr_in>.size)
                return unsafe srt_getsockname(self.id, generic, &length)
            }
        }
        return result >= 0 ? UInt16(bigEndian: address.sin_port) : 0
    }

    var isOver: Bool { srt_getsockstate(self.id).rawValue >= SRTS_BROKEN.rawValue }

    /// Why the server did not let the player in, in the library's words.
    var rejection: String {
        let code = srt_getrejectreason(self.id)
        // Safety: the library returns a text that is its own and ends with a zero; it is copied at once.
        return unsafe srt_rejectreason_str(code).map { unsafe String(cString: $0) } ?? "code \(code)"
    }

    /// Reads one message.
    func receive(into buffer: inout [UInt8]) -> Received {
        // Safety: the library writes at most `count` bytes into the array's storage.
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe srt_recvmsg2(self.id, bytes.bindMemory(to: CChar.self).baseAddress, CInt(bytes.count), nil)
        }
        if count > 0 { return .bytes(Int(count)) }
        let code = srt_getlasterror(nil)
        return code == SRT_EASYNCRCV.rawValue || code == SRT_ETIMEOUT.rawValue ? .nothing : .lost
    }

    /// What the library counted since the last call.
    func takeStatistics() -> SRT_TRACEBSTATS? {
        var sample = SRT_TRACEBSTATS()
        // Safety: the library fills one structure.
        return unsafe srt_bistats(self.id, &sample, 1, 1) >= 0 ? sample : nil
    }

    private func set(_ name: SRT_SOCKOPT, _ value: some BitwiseCopyable) throws {
        var value = value
        // Safety: the library reads as many bytes as the value has.
        let result = unsafe withUnsafeBytes(of: &value) { bytes in
            unsafe srt_setsockflag(self.id, name, bytes.baseAddress, CInt(bytes.count))
        }
        guard result >= 0 else { throw SRTFailure("srt_setsockflag") }
    }

    private func set(_ name: SRT_SOCKOPT, _ text: String) throws {
        // Safety: the library reads as many bytes as it is told, and copies them.
        let result = unsafe Array(text.utf8).withUnsafeBytes { bytes in
            unsafe srt_setsockflag(self.id, name, bytes.baseAddress, CInt(bytes.count))
        }
        guard result >= 0 else { throw SRTFailure("srt_setsockflag") }
    }
}
