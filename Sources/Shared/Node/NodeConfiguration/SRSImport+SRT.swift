import SRSConfig

/// SRT: `srt_server` and the `srt` of vhosts.
extension SRSImport {
    /// Durations in milliseconds by directive.
    private static let srtDurations: [String: String] = [
        "latency": "srt.latency", "recvlatency": "srt.receive_latency", "peerlatency": "srt.peer_latency",
        "connect_timeout": "srt.connect_timeout", "peer_idle_timeout": "srt.peer_idle_timeout",
    ]
    private static let srtNumbers: [String: String] = [
        "mss": "srt.mss", "payloadsize": "srt.payload_size", "sendbuf": "srt.send_buffer",
        "recvbuf": "srt.receive_buffer", "maxbw": "srt.maximum_bandwidth", "default_app": "srt.default_app",
        "passphrase": "srt.passphrase", "default_streamid": "srt.default_stream_id",
    ]
    private static let srtFlags: [String: String] = [
        "tsbpdmode": "srt.timestamps", "tlpktdrop": "srt.too_late_drop",
    ]
    private static let srtKeys: [String: String] = ["0": "peer", "16": "aes128", "24": "aes192", "32": "aes256"]

    mutating func readSRTServer(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else {
            self.set("srt.enabled", ["false"], directive, comment: "off in SRS")
            return
        }
        self.set("srt.enabled", ["true"], directive)
        for child in directive.block ?? [] {
            switch child.name {
            case "enabled": break
            case "listen": self.set("srt.listen", child.arguments.map(Self.address), child)
            case "pbkeylen":
                guard let length = self.argument(child) else { continue }
                guard let key = Self.srtKeys[length] else { self.note(child, "expected 0, 16, 24 or 32"); continue }
                self.set("srt.key_length", [key], child)
            case "default_mode":
                guard let mode = self.argument(child) else { continue }
                self.set("srt.default_mode", [mode], child)
            case "mix_correct", "sei_filter":
                self.note(.notNeeded, child, "it has no effect in SRS either")
            case let name where Self.srtDurations[name] != nil:
                self.set(
                    Self.srtDurations[name] ?? name, child.arguments.prefix1.map { "\($0)ms" }, child)
            case let name where Self.srtNumbers[name] != nil:
                self.set(Self.srtNumbers[name] ?? name, child.arguments.prefix1, child)
            case let name where Self.srtFlags[name] != nil:
                guard let isOn = self.flag(child) else { continue }
                self.set(Self.srtFlags[name] ?? name, [isOn ? "true" : "false"], child)
            default: self.note(child, "the directive is not known")
            }
        }
    }

    mutating func readSRT(_ directive: SRSDirective) {
        self.setStream("srt.enabled", [Self.isEnabled(directive) ? "true" : "false"], directive)
        for child in directive.block ?? [] {
            switch child.name {
            case "enabled": break
            case "srt_to_rtmp":
                if self.flag(child) == false { self.note(child, "every stream can be played by every protocol") }
            default: self.note(child, "the directive is not known")
            }
        }
    }
}
