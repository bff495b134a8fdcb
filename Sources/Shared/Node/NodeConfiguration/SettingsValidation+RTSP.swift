extension NodeSettings {
    /// RTSP's own contradictions. Ports of TCP are compared with those of the other listeners elsewhere.
    func checkRTSP(_ found: inout Contradictions) {
        guard self.rtsp.isEnabled else { return }
        if self.rtsp.listen.isEmpty, self.rtsp.tls.listen.isEmpty, self.rtsp.pulls.isEmpty {
            found.add("rtsp.listen", "RTSP needs an address; rtsp.enabled: false turns it off")
        }
        if self.rtsp.authentication.isEmpty {
            found.add("rtsp.authentication", "without a way to authenticate nobody with a password could get in")
        }
        var names: Set<String> = []
        for pull in self.rtsp.pulls {
            let name = "\(pull.vhost ?? "")/\(pull.app)/\(pull.name)"
            if !names.insert(name).inserted {
                found.add("rtsp.pulls", "\(pull.app)/\(pull.name) is fetched from two places")
            }
        }
    }

    /// The addresses of TCP; none if RTSP is off.
    var rtspListeners: [(key: String, addresses: [ListenAddress])] {
        guard self.rtsp.isEnabled else { return [] }
        return [("rtsp.listen", self.rtsp.listen), ("rtsp.tls.listen", self.rtsp.tls.listen)]
    }
}
