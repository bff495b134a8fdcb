import NIOCore

/// Where clients can reach this node, for the candidates of answers.
///
/// What cannot be resolved, or not in time, is left out.
final class AddressBook: Sendable {
    /// One place to send packets to.
    struct Place: Hashable, Sendable {
        var address: SocketAddress
        var isTCP: Bool

        static func == (left: Self, right: Self) -> Bool {
            left.isTCP == right.isTCP && PeerAddress(left.address) == PeerAddress(right.address)
        }

        func hash(into hasher: inout Hasher) {
            hasher.combine(self.isTCP)
            hasher.combine(PeerAddress(self.address))
        }
    }

    /// A name or an address, as the settings and requests have it.
    struct Host: Hashable, Sendable {
        var name: String
        var port: Int?

        /// Reads `host`, `host:port`, `v6` or `[v6]:port`; `nil` for what is none of them.
        init?(_ text: String) {
            guard !text.isEmpty, text.utf8.count <= 255, !text.contains("/") else { return nil }
            if text.hasPrefix("[") {
                guard let end = text.firstIndex(of: "]") else { return nil }
                self.name = String(text[text.index(after: text.startIndex)..<end])
                let rest = text[text.index(after: end)...]
                self.port = rest.hasPrefix(":") ? Int(rest.dropFirst()) : nil
                guard rest.isEmpty || self.port != nil else { return nil }
            } else {
                let parts = text.split(separator: ":", omittingEmptySubsequences: false)
                self.name = parts.count == 2 ? String(parts[0]) : text
                self.port = parts.count == 2 ? Int(parts[1]) : nil
                guard parts.count != 2 || self.port != nil else { return nil }
            }
            guard !self.name.isEmpty, self.port.map({ (1...65_535).contains($0) }) ?? true else { return nil }
        }
    }

    private static let maximumPlaces = 24

    private let configured: [Host]
    private let interfaces: [String]
    /// Of the settings' names, and of those that requests have: who sends many of these keeps nobody from finding the others.
    private let ownNames: NameResolver
    private let names: NameResolver

    /// `configured`: what the settings name instead of the addresses that are listened on.
    init(configured: [Host], interfaces: [String], ownNames: NameResolver, names: NameResolver) {
        self.configured = configured
        self.interfaces = interfaces
        self.ownNames = ownNames
        self.names = names
    }

    /// Looks up what the settings name, so that the first answer need not wait for it.
    func prepare() {
        for host in self.configured where (try? SocketAddress(ipAddress: host.name, port: 0)) == nil {
            self.ownNames.begin(host.name)
        }
    }

    /// Looks nothing up any more.
    func close() {
        self.ownNames.close()
        self.names.close()
    }

    /// The places for one answer: of the settings or of the listeners, then of the request. `listeners`: what is bound.
    func places(
        listeners: [(address: SocketAddress, isTCP: Bool)], requested: [Host]
    ) async -> [Place] {
        var places: [Place] = []
        if self.configured.isEmpty {
            for listener in listeners {
                for address in self.own(listener.address) {
                    places.append(Place(address: address, isTCP: listener.isTCP))
                }
            }
        }
        async let own = self.ownNames.addresses(of: self.configured.map(\.name))
        async let others = self.names.addresses(of: requested.map(\.name))
        for (hosts, addresses) in await [(self.configured, own), (requested, others)] {
            for host in hosts {
                for address in addresses[host.name] ?? [] {
                    places += Self.places(address, port: host.port, listeners)
                }
            }
        }
        var seen: Set<Place> = []
        return Array(places.filter { seen.insert($0).inserted }.prefix(Self.maximumPlaces))
    }

    /// An address with the ports of the listeners that take packets for it. `port`: the one that is seen from outside.
    private static func places(
        _ address: String, port: Int?, _ listeners: [(address: SocketAddress, isTCP: Bool)]
    ) -> [Place] {
        listeners.compactMap { listener in
            guard let own = listener.address.port,
                let place = try? SocketAddress(ipAddress: address, port: port ?? own),
                place.protocol == listener.address.protocol, !place.isUnspecified
            else { return nil }
            return Place(address: place, isTCP: listener.isTCP)
        }
    }

    /// The addresses that a listener stands for.
    private func own(_ listener: SocketAddress) -> [SocketAddress] {
        guard listener.isUnspecified, let port = listener.port else { return [listener] }
        let devices = (try? System.enumerateDevices()) ?? []
        var found: [SocketAddress] = []
        var loopback: [SocketAddress] = []
        for device in devices where self.interfaces.isEmpty || self.interfaces.contains(device.name) {
            guard var address = device.address, address.protocol == listener.protocol,
                let peer = PeerAddress(address), !peer.isLinkLocal
            else { continue }
            address.port = port
            if peer.isLoopback, self.interfaces.isEmpty { loopback.append(address) } else { found.append(address) }
        }
        return found.isEmpty ? loopback : found
    }
}

extension SocketAddress {
    /// The address that stands for all of the machine.
    var isUnspecified: Bool { self.ipAddress == "0.0.0.0" || self.ipAddress == "::" }
}

extension PeerAddress {
    var isLoopback: Bool { self.isV4 ? self.firstOctetV4 == 127 : self.isV6Loopback }
    var isLinkLocal: Bool { !self.isV4 && self.firstGroupV6 & 0xFFC0 == 0xFE80 }
}
