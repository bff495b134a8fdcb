import SRSConfig

/// RTSP: `rtsp_server` and the `rtsp` of vhosts.
extension SRSImport {
    mutating func readRTSPServer(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else {
            self.set("rtsp.enabled", ["false"], directive, comment: "off in SRS")
            return
        }
        self.set("rtsp.enabled", ["true"], directive)
        for child in directive.block ?? [] {
            switch child.name {
            case "enabled": break
            case "listen": self.set("rtsp.listen", child.arguments.map(Self.address), child)
            default: self.note(child, "the directive is not known")
            }
        }
    }

    mutating func readRTSP(_ directive: SRSDirective) {
        self.setStream("rtsp.enabled", [Self.isEnabled(directive) ? "true" : "false"], directive)
        for child in directive.block ?? [] {
            switch child.name {
            case "enabled": break
            case "rtmp_to_rtsp":
                if self.flag(child) == false { self.note(child, "every stream can be played by every protocol") }
            default: self.note(child, "the directive is not known")
            }
        }
    }
}
