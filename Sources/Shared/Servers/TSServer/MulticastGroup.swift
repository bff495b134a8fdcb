import Glibc
import NIOCore
import NIOPosix
import StreamHub

/// A group that a socket joins, on an interface, with any sender or with one. Spec: RFC 3678 §5.
struct MulticastGroup {
    private let group: SocketAddress
    private let source: SocketAddress?
    /// 0 lets the kernel choose.
    private let interface: Int

    /// `nil` for an address that is no group.
    ///
    /// Errors: `unknownInterface`, `badAddress`, `sourceWithoutGroup`.
    init?(_ listener: TSListenerConfiguration, port: Int) throws(TSServerError) {
        let group: SocketAddress
        do { group = try SocketAddress(ipAddress: listener.host, port: port) } catch {
            throw .badAddress(listener.host)
        }
        guard group.isMulticast else {
            if let source = listener.source { throw .sourceWithoutGroup(source) }
            return nil
        }
        self.group = group
        self.interface = try listener.interface.map { name throws(TSServerError) in try Self.index(of: name) } ?? 0
        guard let text = listener.source else {
            self.source = nil
            return
        }
        guard let source = try? SocketAddress(ipAddress: text, port: 0) else { throw .badAddress(text) }
        guard source.protocol == group.protocol else { throw .sourceWithoutGroup(text) }
        self.source = source
    }

    private static func index(of interface: String) throws(TSServerError) -> Int {
        let devices = (try? System.enumerateDevices()) ?? []
        let found = devices.first { $0.name == interface || $0.address?.ipAddress == interface }
        guard let found else { throw .unknownInterface(interface) }
        return found.interfaceIndex
    }

    // From <linux/in.h>; the C library's module has them for GNU sources only.
    private static let joinGroup: CInt = 42
    private static let joinSourceGroup: CInt = 46
    private static let multicastAll: CInt = 49
    private static let multicastAllV6: CInt = 29

    /// Has the socket of `channel` get the group's datagrams, and those of no other group. On its event loop.
    ///
    /// Errors: `join`.
    func join(_ channel: any Channel) throws(TSServerError) {
        let descriptor = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { $0 }
        guard let descriptor else { throw .join(group: self.name, cause: "no socket") }
        let isV6 = self.group.protocol == .inet6
        let level = CInt(isV6 ? IPPROTO_IPV6 : IPPROTO_IP)
        var none: CInt = 0
        // A kernel that does not know it gives the socket a little more to drop.
        // Safety: the kernel reads one number.
        _ = unsafe setsockopt(
            descriptor, level, isV6 ? Self.multicastAllV6 : Self.multicastAll, &none, socklen_t(MemoryLayout<CInt>.size)
        )
        let status: CInt
        if let source = self.source {
            var request = GroupSourceRequest(interface: UInt32(self.interface))
            request.group = self.group.storage
            request.source = source.storage
            // Safety: the kernel reads one structure, whose size is told.
            status = unsafe setsockopt(
                descriptor, level, Self.joinSourceGroup, &request, socklen_t(MemoryLayout<GroupSourceRequest>.size))
        } else {
            var request = GroupRequest(interface: UInt32(self.interface))
            request.group = self.group.storage
            // Safety: the kernel reads one structure, whose size is told.
            status = unsafe setsockopt(
                descriptor, level, Self.joinGroup, &request, socklen_t(MemoryLayout<GroupRequest>.size))
        }
        guard status == 0 else {
            throw .join(group: self.name, cause: IOError(errnoCode: errno, reason: "join").systemText)
        }
    }

    private var name: String { self.group.ipAddress ?? "" }

    /// `struct group_req`.
    private struct GroupRequest {
        var interface: UInt32
        var padding: UInt32 = 0
        var group = sockaddr_storage()
    }

    /// `struct group_source_req`.
    private struct GroupSourceRequest {
        var interface: UInt32
        var padding: UInt32 = 0
        var group = sockaddr_storage()
        var source = sockaddr_storage()
    }
}

extension SocketAddress {
    /// The address in the form in which the kernel takes those of either family.
    fileprivate var storage: sockaddr_storage {
        var storage = sockaddr_storage()
        // Safety: the storage is as large as an address of any family, and the length is that of the address.
        unsafe self.withSockAddr { address, length in
            unsafe withUnsafeMutableBytes(of: &storage) { bytes in
                unsafe bytes.copyMemory(from: UnsafeRawBufferPointer(start: address, count: length))
            }
        }
        return storage
    }
}
