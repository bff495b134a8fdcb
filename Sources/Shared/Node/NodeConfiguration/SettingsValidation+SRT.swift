extension NodeSettings {
    /// SRT's own contradictions. Its ports are UDP's, as those of WebRTC are.
    func checkSRT(_ found: inout Contradictions) {
        let srt = self.srt
        guard srt.isEnabled else { return }
        if srt.listen.isEmpty, srt.pulls.isEmpty {
            found.add("srt.listen", "SRT needs an address; srt.enabled: false turns it off")
        }
        let options = srt.options
        if options.payloadSize > options.mss - 44 {
            found.add(
                "srt.mss",
                "\(options.mss) bytes have no room for 44 bytes of headers and srt.payload_size (\(options.payloadSize))"
            )
        }
        // The library counts its buffers in packets without the headers of IP and UDP.
        let packets = options.receiveBuffer / (options.mss - 28)
        if options.flightWindow < packets {
            found.add(
                "srt.receive_buffer",
                "it holds \(packets) packets, more than srt.flight_window (\(options.flightWindow)) lets be on their way"
            )
        }
        var taken = self.rtc.udpListeners.map { (key: "rtc.listen", address: $0) }
        for address in srt.listen {
            let isIPv6 = address.host.contains(":")
            let other = taken.first {
                $0.address.overlaps(address) && $0.address.host.contains(":") == isIPv6
            }
            if let other {
                let which = other.key == "srt.listen" ? "" : " of \(other.key)"
                found.add("srt.listen", "\(address) takes the same port as \(other.address)\(which)")
            }
            taken.append((key: "srt.listen", address: address))
        }
    }
}
