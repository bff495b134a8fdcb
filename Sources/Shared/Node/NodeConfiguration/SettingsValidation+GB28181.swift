import Media

extension NodeSettings {
    /// The contradictions of GB/T 28181. Its ports are both UDP's and TCP's.
    func checkGB28181(_ found: inout Contradictions) {
        let settings = self.gb28181
        guard settings.isEnabled else { return }
        guard self.role == .origin else {
            return found.add("gb28181.enabled", "devices are taken by origins, and this is an edge")
        }
        if !settings.streamName.contains("[channel]") {
            found.add(
                "gb28181.stream_name", "\(settings.streamName) has no [channel], so all channels would be one stream")
        }
        let example = settings.streamName.replacing("[device]", with: "0").replacing("[channel]", with: "0")
        if (try? StreamKey(app: settings.app, name: example)) == nil {
            found.add("gb28181.stream_name", "\(settings.streamName) makes no name of a stream")
        }
        self.checkGB28181Ports(&found)
    }

    private func checkGB28181Ports(_ found: inout Contradictions) {
        let settings = self.gb28181
        var taken: [(key: String, address: ListenAddress)] = []
        func note(_ key: String, _ addresses: [ListenAddress]) { taken += addresses.map { (key, $0) } }
        note("rtmp.listen", self.rtmp.listen + self.rtmp.tls.listen)
        note("http.listen", self.http.listen + self.http.tls.listen)
        note("api.listen", [self.api.listen] + self.api.tls.listen)
        for listener in self.rtspListeners { note(listener.key, listener.addresses) }
        note("rtc.listen", self.rtc.udpListeners + self.rtc.tcpListeners)
        if self.srt.isEnabled { note("srt.listen", self.srt.listen) }
        for target in self.ts.listeners {
            note("ts.listeners", target.ports.map { ListenAddress(host: target.host, port: $0) })
        }
        for (key, address) in settings.listen.map({ ("gb28181.listen", $0) })
            + [("gb28181.media_listen", settings.mediaListen)]
        {
            if let other = taken.first(where: { $0.address.overlaps(address) }) {
                found.add(key, "\(address) takes the same port as \(other.address) of \(other.key)")
            }
            taken.append((key, address))
        }
        guard let range = settings.sessionPorts else { return }
        for (key, address) in taken where range.first...range.last ~= address.port {
            found.add("gb28181.session_ports", "\(range) contains the port of \(address) of \(key)")
        }
        let others = self.rtsp.ports
        if self.rtsp.isEnabled, self.rtsp.udp, range.first <= others.last, others.first <= range.last {
            found.add("gb28181.session_ports", "\(range) and \(others) of rtsp.ports have ports in common")
        }
    }
}
