import Glibc
import NIOCore

/// An IP address with a port, small enough to be a key and ready for the kernel.
///
/// IPv4 addresses are kept in the form of IPv4-mapped IPv6 addresses, without being ones for the kernel.
struct PeerAddress: Hashable, Sendable {
    /// The 16 bytes of the address, in the order of the wire.
    private var high: UInt64
    private var low: UInt64
    /// In host order.
    private(set) var port: UInt16
    private(set) var isV4: Bool
    /// The interface of a link-local address; 0 for others.
    private var scope: UInt32

    /// `nil` for an address that is not one of IP.
    init?(_ address: SocketAddress) {
        switch address {
        case .v4(let v4): self.init(v4: RawAddress(copying: v4.address))
        case .v6(let v6): self.init(v6: RawAddress(copying: v6.address))
        case .unixDomainSocket: return nil
        }
    }

    private init(v4 raw: RawAddress) {
        self.high = 0
        self.low = 0x0000_FFFF_0000_0000 | UInt64(UInt32(bigEndian: raw.load(at: 4)))
        self.port = UInt16(bigEndian: raw.load(at: 2))
        self.isV4 = true
        self.scope = 0
    }

    private init(v6 raw: RawAddress) {
        self.high = UInt64(bigEndian: raw.load(at: 8))
        self.low = UInt64(bigEndian: raw.load(at: 16))
        self.port = UInt16(bigEndian: raw.load(at: 2))
        self.isV4 = false
        self.scope = raw.load(at: 24)
    }

    /// The form that the rest of the world uses. Allocates.
    var socketAddress: SocketAddress { RawAddress(self).socketAddress(isV4: self.isV4) }

    var firstOctetV4: UInt8 { UInt8(truncatingIfNeeded: self.low >> 24) }
    var firstGroupV6: UInt16 { UInt16(truncatingIfNeeded: self.high >> 48) }
    var isV6Loopback: Bool { !self.isV4 && self.high == 0 && self.low == 1 }

    /// Names the address without its port as the one that datagrams leave from.
    var packetInfo: PacketInfo {
        var info = PacketInfo()
        if self.isV4 {
            // in_pktinfo: interface, address, and one that counts on reception only.
            info.store(UInt32(truncatingIfNeeded: self.low).bigEndian, at: 4)
            info.length = 12
        } else {
            // in6_pktinfo: address, interface.
            info.store(self.high.bigEndian, at: 0)
            info.store(self.low.bigEndian, at: 8)
            info.store(self.scope, at: 16)
            info.length = 20
        }
        return info
    }

    fileprivate func write(into raw: inout RawAddress) {
        raw.store(self.port.bigEndian, at: 2)
        if self.isV4 {
            raw.store(UInt16(AF_INET), at: 0)
            raw.store(UInt32(truncatingIfNeeded: self.low).bigEndian, at: 4)
            raw.length = 16
        } else {
            raw.store(UInt16(AF_INET6), at: 0)
            raw.store(self.high.bigEndian, at: 8)
            raw.store(self.low.bigEndian, at: 16)
            raw.store(self.scope, at: 24)
            raw.length = 28
        }
    }
}

/// The local address of a reply, as `sendmsg` takes it: an `in_pktinfo` or an `in6_pktinfo`.
struct PacketInfo: Equatable {
    private var storage: (UInt64, UInt64, UInt32) = (0, 0, 0)
    /// Bytes that count; 0 leaves the choice to the kernel.
    fileprivate(set) var length: UInt16 = 0

    static func == (one: Self, other: Self) -> Bool { one.storage == other.storage && one.length == other.length }

    fileprivate mutating func store<Value: BitwiseCopyable>(_ value: Value, at offset: Int) {
        unsafe withUnsafeMutableBytes(of: &self.storage) {
            unsafe $0.storeBytes(of: value, toByteOffset: offset, as: Value.self)
        }
    }
}

/// A `sockaddr_in` or a `sockaddr_in6`, in place.
struct RawAddress: Equatable {
    private var storage: (UInt64, UInt64, UInt64, UInt32) = (0, 0, 0, 0)
    /// Bytes that count.
    fileprivate(set) var length: UInt32 = 0

    static func == (one: Self, other: Self) -> Bool { one.storage == other.storage && one.length == other.length }

    init(_ address: PeerAddress) { address.write(into: &self) }

    /// Copies the bytes of one of the two.
    fileprivate init<Value>(copying value: Value) {
        let count = min(MemoryLayout<Value>.size, MemoryLayout.size(ofValue: self.storage))
        unsafe withUnsafeBytes(of: value) { source in
            unsafe withUnsafeMutableBytes(of: &self.storage) { target in
                unsafe target.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[..<count]))
            }
        }
        self.length = UInt32(count)
    }

    fileprivate func load<Value: BitwiseCopyable>(at offset: Int) -> Value {
        unsafe withUnsafeBytes(of: self.storage) {
            unsafe $0.loadUnaligned(fromByteOffset: offset, as: Value.self)
        }
    }

    fileprivate mutating func store<Value: BitwiseCopyable>(_ value: Value, at offset: Int) {
        unsafe withUnsafeMutableBytes(of: &self.storage) {
            unsafe $0.storeBytes(of: value, toByteOffset: offset, as: Value.self)
        }
    }

    fileprivate func socketAddress(isV4: Bool) -> SocketAddress {
        guard !isV4 else { return SocketAddress(self.load(at: 0) as sockaddr_in) }
        let address = unsafe withUnsafeBytes(of: self.storage) {
            // Safety: the record has at least as many bytes as a `sockaddr_in6`, all of which are set, and it is aligned
            // for its words; each pattern of bits is a valid address.
            unsafe $0.load(as: sockaddr_in6.self)
        }
        return SocketAddress(address)
    }
}
