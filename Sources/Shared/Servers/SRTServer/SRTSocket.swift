import CSRT
import Glibc
import NIOCore
import SRTAccess

/// A socket of the library, by its number. Calls never block: every socket is set so when it is made.
///
/// A number is not used again while the process runs, so that a call to a socket that was closed fails, and no more.
struct SRTSocket: Sendable, Hashable {
    /// The most bytes of a message.
    static let maximumMessage = 1_456

    enum Sent: Sendable, Hashable {
        case sent
        /// The library's buffer is full.
        case full
        case lost
    }

    enum Received: Sendable, Hashable {
        case bytes(Int)
        /// Nothing is there now.
        case nothing
        case lost
    }

    let id: SRTSOCKET

    init(id: SRTSOCKET) { self.id = id }

    /// A new socket with `options`, all of which are set.
    static func make(_ options: SRTOptions) throws(SRTError) -> SRTSocket {
        let id = srt_create_socket()
        guard id >= 0 else { throw SRTError.last(.create) }
        let socket = SRTSocket(id: id)
        do throws(SRTError) {
            try socket.set(SRTO_SNDSYN, false)
            try socket.set(SRTO_RCVSYN, false)
            try socket.set(options)
        } catch {
            socket.close()
            throw error
        }
        return socket
    }

    // MARK: Options

    func set(_ options: SRTOptions) throws(SRTError) {
        for (option, value) in options.all { try self.set(option, to: value) }
    }

    func set(_ option: SRTOption, to value: SRTOptionValue) throws(SRTError) {
        switch (option.kind, value) {
        case (.flag, .flag(let isOn)): try self.set(option.name, isOn)
        case (.wide, .integer(let number)): try self.set(option.name, Int64(number))
        case (_, .integer(let number)): try self.set(option.name, Int32(truncatingIfNeeded: number))
        case (_, .text(let text)): try self.set(option.name, text)
        default: preconditionFailure("\(option.rawValue) was given a value of another kind")
        }
    }

    private func set(_ name: SRT_SOCKOPT, _ value: some BitwiseCopyable) throws(SRTError) {
        var value = value
        // Safety: the library reads as many bytes as the value has.
        let result = unsafe withUnsafeBytes(of: &value) { bytes in
            unsafe srt_setsockflag(self.id, name, bytes.baseAddress, CInt(bytes.count))
        }
        guard result >= 0 else { throw SRTError.last(.option) }
    }

    private func set(_ name: SRT_SOCKOPT, _ text: String) throws(SRTError) {
        let bytes = Array(text.utf8)
        // Safety: the library reads as many bytes as it is told, and copies them.
        let result = unsafe bytes.withUnsafeBytes { bytes in
            // An empty text has no address, and the library wants one.
            var nothing: UInt8 = 0
            return unsafe withUnsafeBytes(of: &nothing) { empty in
                unsafe srt_setsockflag(self.id, name, bytes.baseAddress ?? empty.baseAddress, CInt(bytes.count))
            }
        }
        guard result >= 0 else { throw SRTError.last(.option) }
    }

    /// What the socket has, as the library tells it. It tells nobody a passphrase.
    func value(of option: SRTOption) throws(SRTError) -> SRTOptionValue {
        switch option.kind {
        case .flag: .flag(try self.value(option.name, Bool(false)))
        case .wide: .integer(Int(try self.value(option.name, Int64(0))))
        case .integer: .integer(Int(try self.value(option.name, Int32(0))))
        case .text: .text(String(decoding: try self.bytes(of: option.name), as: UTF8.self))
        }
    }

    private func value<Value: BitwiseCopyable>(_ name: SRT_SOCKOPT, _ initial: Value) throws(SRTError) -> Value {
        var value = initial
        // Safety: the library writes at most as many bytes as it is told that there are.
        let result = unsafe withUnsafeMutableBytes(of: &value) { bytes in
            var length = CInt(bytes.count)
            return unsafe srt_getsockflag(self.id, name, bytes.baseAddress, &length)
        }
        guard result >= 0 else { throw SRTError.last(.option) }
        return value
    }

    private func bytes(of name: SRT_SOCKOPT) throws(SRTError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: SRTStreamID.maximumLength + 1)
        var length = CInt(bytes.count)
        // Safety: the library writes at most as many bytes as it is told that there are.
        let result = unsafe bytes.withUnsafeMutableBytes { bytes in
            unsafe srt_getsockflag(self.id, name, bytes.baseAddress, &length)
        }
        guard result >= 0 else { throw SRTError.last(.option) }
        return Array(bytes.prefix(Int(length)))
    }

    /// The stream id that the peer sent, or that is sent to it.
    var streamID: [UInt8] { (try? self.bytes(of: SRTO_STREAMID)) ?? [] }

    /// Whether both ends share a key.
    var isEncrypted: Bool {
        let secured = Int32(SRT_KM_S_SECURED.rawValue)
        return (try? self.value(SRTO_RCVKMSTATE, Int32(0))) == secured
            || (try? self.value(SRTO_SNDKMSTATE, Int32(0))) == secured
    }

    // MARK: Connecting

    func bind(_ address: SocketAddress) throws(SRTError) {
        // Safety: the address lives for the time of the call.
        let result = unsafe address.withSockAddr { unsafe srt_bind(self.id, $0, CInt($1)) }
        guard result >= 0 else { throw SRTError.last(.bind) }
    }

    /// `doorkeeper` is asked on a thread of the library, and has to live until the socket was closed. Without one all are
    /// let in.
    func listen(backlog: Int, doorkeeper: SRTDoorkeeper?) throws(SRTError) {
        if let doorkeeper {
            // Safety: whoever calls keeps the doorkeeper until the socket was closed; then the library calls no more.
            let context = unsafe Unmanaged.passUnretained(doorkeeper).toOpaque()
            guard unsafe srt_listen_callback(self.id, srtPeerKnocks, context) >= 0 else {
                throw SRTError.last(.listen)
            }
        }
        guard srt_listen(self.id, CInt(backlog)) >= 0 else { throw SRTError.last(.listen) }
    }

    /// A peer that was let in; `nil` if none waits any more.
    func accept() -> (socket: SRTSocket, address: SocketAddress?)? {
        var storage = sockaddr_storage()
        var length = CInt(MemoryLayout<sockaddr_storage>.size)
        // Safety: the storage has room for every address, and its size is told.
        let id = unsafe withUnsafeMutableBytes(of: &storage) { bytes in
            unsafe srt_accept(self.id, bytes.bindMemory(to: sockaddr.self).baseAddress, &length)
        }
        guard id >= 0 else { return nil }
        return (SRTSocket(id: id), SocketAddress(storage))
    }

    /// Begins to connect. The poller tells how it went.
    func connect(_ address: SocketAddress) throws(SRTError) {
        // Safety: the address lives for the time of the call.
        let result = unsafe address.withSockAddr { unsafe srt_connect(self.id, $0, CInt($1)) }
        guard result >= 0 else { throw SRTError.last(.connect) }
    }

    /// Both ends connect to each other, each from the port that the other one knows.
    func rendezvous(_ address: SocketAddress, from local: SocketAddress) throws(SRTError) {
        var isOn = true
        // Safety: the library reads one value; the addresses live for the time of the calls.
        guard unsafe srt_setsockflag(self.id, SRTO_RENDEZVOUS, &isOn, CInt(MemoryLayout<Bool>.size)) >= 0 else {
            throw SRTError.last(.option)
        }
        try self.bind(local)
        try self.connect(address)
    }

    /// Where the socket is bound.
    var localAddress: SocketAddress? {
        var storage = sockaddr_storage()
        var length = CInt(MemoryLayout<sockaddr_storage>.size)
        // Safety: the storage has room for every address, and its size is told.
        let result = unsafe withUnsafeMutableBytes(of: &storage) { bytes in
            unsafe srt_getsockname(self.id, bytes.bindMemory(to: sockaddr.self).baseAddress, &length)
        }
        return result >= 0 ? SocketAddress(storage) : nil
    }

    /// Why the peer, or the library, did not connect.
    var rejection: SRTRejectReason { SRTRejectReason(code: srt_getrejectreason(self.id)) }

    var isConnected: Bool { srt_getsockstate(self.id) == SRTS_CONNECTED }

    /// The connection broke, or did not come about, or the socket was closed.
    var isOver: Bool { srt_getsockstate(self.id).rawValue >= SRTS_BROKEN.rawValue }

    /// At once; what was not sent is lost. Harmless if it was closed.
    func close() { srt_close(self.id) }

    // MARK: Media

    /// Gives the library one message. It copies the bytes.
    func send(_ message: UnsafeRawBufferPointer) -> Sent {
        // Safety: the library reads as many bytes as it is told.
        let result = unsafe srt_sendmsg2(
            self.id, message.bindMemory(to: CChar.self).baseAddress, CInt(message.count), nil)
        if result >= 0 { return .sent }
        let code = srt_getlasterror(nil)
        return code == SRT_EASYNCSND.rawValue || code == SRT_ECONGEST.rawValue ? .full : .lost
    }

    /// Appends one message to `buffer`.
    func receive(into buffer: inout ByteBuffer) -> Received {
        var result: CInt = 0
        // Safety: there is room for the longest message, and its size is told.
        unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.maximumMessage) { bytes in
            result = unsafe srt_recvmsg2(
                self.id, bytes.bindMemory(to: CChar.self).baseAddress, CInt(bytes.count), nil)
            return max(0, Int(result))
        }
        if result > 0 { return .bytes(Int(result)) }
        let code = srt_getlasterror(nil)
        return code == SRT_EASYNCRCV.rawValue || code == SRT_ETIMEOUT.rawValue ? .nothing : .lost
    }

    /// Packets that arrived and were not read, due or not; 0 where that cannot be told any more.
    var unreadPackets: Int {
        guard !self.isForgotten else { return 0 }
        return (try? self.value(SRTO_RCVDATA, Int32(0))).map { Int($0) } ?? 0
    }

    /// The library has given up what the socket had.
    private var isForgotten: Bool { srt_getsockstate(self.id).rawValue >= SRTS_CLOSED.rawValue }

    /// Bytes that the peer has not acknowledged.
    var unacknowledgedBytes: Int {
        var blocks = 0
        var bytes = 0
        // Safety: the library writes two numbers to where it is told.
        return unsafe srt_getsndbuffer(self.id, &blocks, &bytes) >= 0 ? bytes : 0
    }
}

/// Why a connection did not come about.
package struct SRTRejectReason: Sendable, Hashable, CustomStringConvertible {
    /// Below 1000 the library's own; from 1000 on what the peer answered, as `SRTRejection` has it.
    package var code: Int32

    package init(code: Int32) { self.code = code }

    package var description: String {
        if let known = SRTRejection(rawValue: self.code) { return "\(known) (\(self.code))" }
        // Safety: the library returns a text that is its own and ends with a zero; it is copied at once.
        let text = unsafe srt_rejectreason_str(self.code).map { unsafe String(cString: $0) } ?? "unknown"
        return "\(text) (\(self.code))"
    }
}

extension SocketAddress {
    /// `nil` for what is neither IPv4 nor IPv6.
    init?(_ storage: sockaddr_storage) {
        var storage = storage
        switch CInt(storage.ss_family) {
        case AF_INET:
            // Safety: an address of this family is a `sockaddr_in`, for which the storage has room.
            self.init(unsafe withUnsafeBytes(of: &storage) { unsafe $0.loadUnaligned(as: sockaddr_in.self) })
        case AF_INET6:
            // Safety: an address of this family is a `sockaddr_in6`, for which the storage has room.
            self.init(unsafe withUnsafeBytes(of: &storage) { unsafe $0.loadUnaligned(as: sockaddr_in6.self) })
        default: return nil
        }
    }
}
