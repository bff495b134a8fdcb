import SRSConfig

/// `stream_caster` with `caster gb28181`.
extension SRSImport {
    /// Returns whether the block is one of GB28181.
    mutating func readGB28181(_ directive: SRSDirective) -> Bool {
        let children = directive.block ?? []
        guard children.first(where: { $0.name == "caster" })?.arguments.first == "gb28181" else { return false }
        self.set("gb28181.enabled", ["true"], directive)
        // SRS invites every device, and asks none for a password.
        self.set("gb28181.invite", ["always"], directive, comment: "as SRS does")
        for child in children {
            switch child.name {
            case "enabled", "caster": break
            case "listen": self.set("gb28181.media_listen", child.arguments.prefix1.map(Self.address), child)
            case "output": self.readGB28181Output(child)
            case "sip": self.readSIP(child)
            default: self.note(child, "the directive is not known")
            }
        }
        return true
    }

    /// `rtmp://host/app/[stream]`: the name that SRS gives is the device's.
    private mutating func readGB28181Output(_ directive: SRSDirective) {
        let parts = (directive.arguments.first ?? "").split(separator: "/", omittingEmptySubsequences: true)
        guard parts.count == 4, parts[0] == "rtmp:" else {
            return self.note(directive, "gb28181.app and gb28181.stream_name say how streams are called")
        }
        self.set("gb28181.app", [String(parts[2])], directive)
        let name = parts[3].replacing("[stream]", with: "[channel]")
        self.set(
            "gb28181.stream_name", [String(name)], directive, comment: "by the channel: a device may have several")
    }

    private mutating func readSIP(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) || !(directive.block ?? []).contains(where: { $0.name == "enabled" }) else {
            return self.set("gb28181.listen", [], directive, comment: "only /gb/v1/publish/, as in SRS")
        }
        for child in directive.block ?? [] {
            switch child.name {
            case "enabled": break
            case "listen": self.set("gb28181.listen", child.arguments.map(Self.address), child)
            case "timeout":
                self.set("gb28181.invite_timeout", child.arguments.prefix1.map { "\($0)s" }, child)
            case "reinvite":
                self.set("gb28181.reinvite_delay", child.arguments.prefix1.map { "\($0)s" }, child)
            case "candidate":
                let values = child.arguments.filter { $0 != "*" }
                if !values.isEmpty { self.set("gb28181.media_host", Array(values.prefix(1)), child) }
            default: self.note(child, "the directive is not known")
            }
        }
    }
}
