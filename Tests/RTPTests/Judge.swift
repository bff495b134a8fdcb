import Foundation
import Glibc
import NIOCore
import RTP
import Testing

/// ffmpeg, which sends and receives RTP by code of its own.
enum Judge {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    static func folder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("weir-rtp-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    /// Starts ffmpeg with its output and errors in files of `folder`.
    static func start(_ arguments: [String], in folder: URL, name: String) throws -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
        process.arguments = ["30", "/usr/bin/ffmpeg", "-v", "error", "-y"] + arguments
        process.standardInput = FileHandle.nullDevice
        for (suffix, isOutput) in [("out", true), ("err", false)] {
            let file = folder.appendingPathComponent("\(name).\(suffix)")
            try Data().write(to: file)
            let handle = try FileHandle(forWritingTo: file)
            if isOutput { process.standardOutput = handle } else { process.standardError = handle }
        }
        try process.run()
        return process
    }

    /// Waits for the end of `process`. Returns what it printed.
    static func finish(_ process: Process, in folder: URL, name: String) throws -> String {
        process.waitUntilExit()
        let errors = try String(contentsOf: folder.appendingPathComponent("\(name).err"), encoding: .utf8)
        guard process.terminationStatus == 0 else { throw Failure(description: "\(name): \(errors)") }
        return try String(contentsOf: folder.appendingPathComponent("\(name).out"), encoding: .utf8)
    }

    static func run(_ arguments: [String], in folder: URL, name: String) throws -> String {
        try self.finish(try self.start(arguments, in: folder, name: name), in: folder, name: name)
    }

    /// Size and Adler-32 of each packet or frame in ffmpeg's `framecrc` output, without its times.
    static func checksums(_ text: String) -> [String] {
        text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
            line.split(separator: ",").suffix(from: 4).prefix(2)
                .map { $0.trimmingCharacters(in: .whitespaces) }.joined(separator: " ")
        }
    }

    /// The same of bytes of ours. ffmpeg begins its Adler-32 with 0.
    static func checksum(_ bytes: ByteBuffer) -> String {
        let (a, b) = bytes.readableBytesView.reduce((UInt32(0), UInt32(0))) { sums, byte in
            let a = (sums.0 + UInt32(byte)) % 65_521
            return (a, (sums.1 + a) % 65_521)
        }
        let digits = String(b << 16 | a, radix: 16)
        return "\(bytes.readableBytes) 0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}

/// A UDP socket of the loopback interface.
final class LoopbackSocket {
    private let descriptor: CInt
    let port: UInt16

    /// Bound to `port`; 0 lets the kernel choose.
    init(port: UInt16 = 0) throws {
        let descriptor = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
        self.descriptor = descriptor
        var size: CInt = 4 << 20
        // Safety: the option's value is a CInt of this frame.
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<CInt>.size))
        var address = Self.address(port: port)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        // Safety: `address` outlives the calls, which read and write no more than `length` bytes of it.
        let status = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                let bound = unsafe bind(descriptor, generic, length)
                return unsafe bound == 0 ? getsockname(descriptor, generic, &length) : bound
            }
        }
        self.port = UInt16(bigEndian: address.sin_port)
        guard status == 0 else { throw Judge.Failure(description: "bind: \(errno)") }
    }

    deinit { close(self.descriptor) }

    /// An even port that is free together with the next one, as RTP and RTCP want them, where the kernel chooses none.
    static func freePortPair() throws -> UInt16 {
        for _ in 0..<100 {
            let port = UInt16.random(in: 12_000..<32_000) & ~1
            if (try? (LoopbackSocket(port: port), LoopbackSocket(port: port + 1))) != nil { return port }
        }
        throw Judge.Failure(description: "no two ports are free")
    }

    private static func address(port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    /// All datagrams that are there.
    func receiveAll() -> [ByteBuffer] {
        var datagrams: [ByteBuffer] = []
        var bytes = [UInt8](repeating: 0, count: 65_536)
        while true {
            // Safety: the array has as many bytes as the call is told.
            let count = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe recv(self.descriptor, buffer.baseAddress, buffer.count, CInt(MSG_DONTWAIT))
            }
            guard count > 0 else { return datagrams }
            datagrams.append(ByteBuffer(bytes: bytes[..<count]))
        }
    }

    func send(_ datagram: ByteBuffer, to port: UInt16) throws {
        var address = Self.address(port: port)
        let bytes = Array(datagram.readableBytesView)
        // Safety: `address` and `bytes` outlive the call, which is told their sizes.
        let count = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                unsafe sendto(
                    self.descriptor, bytes, bytes.count, 0, generic, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard count == bytes.count else { throw Judge.Failure(description: "sendto: \(errno)") }
    }
}
