extension NodeSettings {
    /// WebRTC's own contradictions. Ports of TCP are compared with those of the other listeners elsewhere.
    func checkRTC(_ found: inout Contradictions) {
        let rtc = self.rtc
        if (rtc.certificate.isEmpty) != (rtc.key.isEmpty) {
            let (set, missing) =
                rtc.certificate.isEmpty ? ("rtc.key", "rtc.certificate") : ("rtc.certificate", "rtc.key")
            found.add(set, "a certificate and its key belong together, and \(missing) is not set")
        }
        if rtc.iceUsername.isEmpty != rtc.iceCredential.isEmpty {
            let (set, missing) =
                rtc.iceUsername.isEmpty
                ? ("rtc.ice_credential", "rtc.ice_username") : ("rtc.ice_username", "rtc.ice_credential")
            found.add(set, "a TURN server asks for both, and \(missing) is not set")
        }
        if let server = rtc.iceServers.first(where: { $0.hasPrefix("turn") }), rtc.iceUsername.isEmpty {
            found.add(
                "rtc.ice_servers",
                "browsers take no TURN server (\(server)) without rtc.ice_username and rtc.ice_credential")
        }
        guard rtc.isEnabled else { return }
        if rtc.listen.isEmpty {
            found.add("rtc.listen", "WebRTC needs an address; rtc.enabled: false turns it off")
        }
    }

    /// The ports of UDP among each other, and those of TCP with `others`, which are all TCP.
    func checkRTCPorts(others: [(key: String, addresses: [ListenAddress])], _ found: inout Contradictions) {
        let listeners:
            [(key: String, addresses: [ListenAddress], others: [(key: String, addresses: [ListenAddress])])] = [
                ("rtc.listen", self.rtc.udpListeners, []), ("rtc.tcp.listen", self.rtc.tcpListeners, others),
            ]
        for (key, addresses, others) in listeners {
            // `::` is IPv6 alone here, and everything elsewhere.
            var taken = others.flatMap { other in other.addresses.map { (key: other.key, address: $0, isBoth: true) } }
            for address in addresses {
                let other = taken.first { other in
                    let isBoth = other.isBoth && other.address.host == "::"
                    return other.address.overlaps(address) && (isBoth || other.address.isIPv6 == address.isIPv6)
                }
                if let other {
                    let which = other.key == key ? "" : " of \(other.key)"
                    found.add(key, "\(address) takes the same port as \(other.address)\(which)")
                }
                taken.append((key: key, address: address, isBoth: false))
            }
        }
    }
}

extension ListenAddress {
    /// Whether the host is an IPv6 address. A name is not looked up.
    fileprivate var isIPv6: Bool { self.host.contains(":") }
}
