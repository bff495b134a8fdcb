import CDatagrams
import Glibc
import Polling

/// The clock on the wall in microseconds, by which the kernel stamps datagrams.
func wallClockMicros() -> Int64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
}

/// An IPv4 address and a port, both in host byte order.
struct Address: Hashable {
    let host: UInt32
    let port: UInt16

    /// Takes four numbers with dots apart, or `localhost`; `nil` when it is anything else.
    static func host(_ text: some StringProtocol) -> UInt32? {
        if text == "localhost" { return 0x7F00_0001 }
        let numbers = text.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        guard numbers.count == 4 else { return nil }
        var value: UInt32 = 0
        for number in numbers {
            guard let number else { return nil }
            value = value << 8 | UInt32(number)
        }
        return value
    }
}

/// One non-blocking socket that is connected to an IPv4 address.
struct Socket {
    enum Kind {
        case stream, datagram
    }

    let descriptor: Int32

    /// Starts to connect; a stream becomes writable when it is connected.
    init(_ kind: Kind, to address: Address) throws(SystemError) {
        let type = kind == .stream ? SOCK_STREAM : SOCK_DGRAM
        let descriptor = socket(AF_INET, Int32(type.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemError("socket") }
        self.descriptor = descriptor
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

    /// Sends bytes. Returns how many the kernel took; 0 when the socket is full, a negated `errno` if it failed.
    @discardableResult
    func send(_ bytes: UnsafeRawBufferPointer) -> Int {
        let count = unsafe Glibc.send(self.descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
        if count >= 0 { return count }
        return errno == EAGAIN || errno == EINTR ? 0 : -Int(errno)
    }

    /// Reads what is there of a stream. Returns 0 at its end, a negated `errno` if there is nothing.
    func receive(into buffer: inout [UInt8]) -> Int {
        // Safety: the kernel writes at most `count` bytes into the array's storage.
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe recv(self.descriptor, bytes.baseAddress, bytes.count, 0)
        }
        return count >= 0 ? count : -Int(errno)
    }

    /// Makes a socket of datagrams ready for `DatagramRoom`; `joins`: the kernel may hand over several as one.
    func prepareForDatagrams(joins: Bool, receiveBytes: Int32) throws(SystemError) {
        guard cdatagramsPrepare(self.descriptor, joins ? 1 : 0, receiveBytes) == 0 else {
            throw SystemError("setsockopt")
        }
    }

    func close() {
        Glibc.close(self.descriptor)
    }
}

/// Where datagrams of any viewer are read to: one for the whole program.
@safe final class DatagramRoom {
    private let room = UnsafeMutableRawPointer.allocate(
        byteCount: Int(cdatagramsCapacity) * Int(cdatagramsRoom), alignment: 64)
    private let found = UnsafeMutablePointer<cdatagram>.allocate(capacity: Int(cdatagramsCapacity))
    /// Calls of the kernel, and messages they gave.
    private(set) var calls = 0
    private(set) var messages = 0

    deinit {
        unsafe self.room.deallocate()
        unsafe self.found.deallocate()
    }

    /// Hands over each datagram that waits at `socket`, with the kernel's time of its arrival in microseconds. The bytes
    /// may be changed and are valid during the call of `body`. Returns the error number of a broken socket.
    func receive(from socket: Socket, _ body: (UnsafeMutableRawBufferPointer, Int64) -> Void) -> Int32? {
        while true {
            let count = Int(unsafe cdatagramsReceive(socket.descriptor, self.room, self.found))
            self.calls += 1
            guard count > 0 else {
                return [0, -Int(EAGAIN), -Int(EINTR)].contains(count) ? nil : Int32(-count)
            }
            self.messages += count
            for index in 0..<count {
                let message = unsafe self.found[index]
                let start = unsafe self.room + index * Int(cdatagramsRoom)
                var offset = 0
                while offset < Int(message.length) {
                    let length = min(Int(message.segment), Int(message.length) - offset)
                    unsafe body(
                        UnsafeMutableRawBufferPointer(start: start + offset, count: length), message.nanos / 1_000)
                    offset += length
                }
            }
            if count < Int(cdatagramsCapacity) { return nil }
        }
    }
}
