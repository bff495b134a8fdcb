import SRSConfig

/// WebRTC: `rtc_server` and the `rtc` of vhosts.
extension SRSImport {
    /// What Weir decides by itself.
    private static let serverDetails: Set<String> = [
        "ip_family", "api_as_candidates", "resolve_api_domain", "keep_api_domain", "use_auto_detect_network_ip",
        "ecdsa", "reuseport", "merge_nalus", "perf_stat", "queue_length",
    ]
    private static let vhostDetails: Set<String> = [
        "nack_no_copy", "stun_strict_check", "dtls_role", "dtls_version", "drop_for_pt", "keep_avc_nalu_sei",
        "aac_codec", "play", "publish",
    ]

    mutating func readRTCServer(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else {
            self.set("rtc.enabled", ["false"], directive, comment: "off in SRS")
            return
        }
        self.set("rtc.enabled", ["true"], directive)
        var hasTCP = false
        for child in directive.block ?? [] {
            switch child.name {
            case "enabled": break
            case "listen": self.set("rtc.listen", child.arguments.map(Self.address), child)
            case "tcp":
                hasTCP = Self.isEnabled(child)
                guard let listen = child.block?.last(where: { $0.name == "listen" }), hasTCP else { continue }
                self.set("rtc.tcp.listen", listen.arguments.map(Self.address), listen)
            case "candidate": self.readCandidate(child)
            case "protocol":
                if child.arguments.first == "tcp" { self.note(child, "UDP is always there, and clients prefer it") }
            case "encrypt":
                if child.arguments.first == "off" { self.note(child, "media are always encrypted") }
            case "black_hole":
                if Self.isEnabled(child) { self.note(child, "packets are not copied to anybody") }
            case let name where Self.serverDetails.contains(name):
                self.note(.notNeeded, child, "Weir does so by itself, or nobody has to")
            default: self.note(child, "the directive is not known")
            }
        }
        self.set("rtc.tcp.enabled", [hasTCP ? "true" : "false"], directive, comment: hasTCP ? nil : "off in SRS")
    }

    /// `*` and `0.0.0.0` look for addresses, as an empty list does.
    private mutating func readCandidate(_ directive: SRSDirective) {
        let values = directive.arguments.filter { $0 != "*" && $0 != "0.0.0.0" && $0 != "::" }
        guard !values.isEmpty else { return }
        self.set("rtc.candidates", values, directive)
    }

    mutating func readRTC(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else {
            // Without the block nobody said no.
            return self.note(directive, "WebRTC is there for all vhosts; stream.access decides who may use it")
        }
        for child in directive.block ?? [] {
            switch child.name {
            case "enabled": break
            case "nack", "twcc":
                guard let isOn = self.flag(child) else { continue }
                self.setStream("rtc.\(child.name)", [isOn ? "true" : "false"], child)
            case "stun_timeout":
                self.set(
                    "rtc.consent_timeout", child.arguments.prefix1.map { "\($0)s" }, child, comment: "for all vhosts")
            case "pli_for_rtmp":
                self.setStream("rtc.keyframe_interval", child.arguments.prefix1.map { "\($0)s" }, child)
            case "opus_bitrate": self.setStream("audio.opus_bit_rate", child.arguments.prefix1, child)
            case "aac_bitrate": self.setStream("audio.aac_bit_rate", child.arguments.prefix1, child)
            case "keep_bframe":
                if self.flag(child) == true { self.note(child, "WebRTC has no B-frames: stream.rtc.b_frames") }
            case "rtmp_to_rtc", "rtc_to_rtmp":
                if self.flag(child) == false { self.note(child, "every stream can be played by every protocol") }
            case let name where Self.vhostDetails.contains(name):
                self.note(.notNeeded, child, "Weir does so by itself, or nobody has to")
            default: self.note(child, "the directive is not known")
            }
        }
    }
}
