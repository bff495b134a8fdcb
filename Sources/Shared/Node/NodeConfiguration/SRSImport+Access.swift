import SRSConfig

/// Callbacks, access and forwarding of a vhost.
extension SRSImport {
    mutating func readHooks(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else { return }
        let known: Set<String> = [
            "on_connect", "on_close", "on_publish", "on_unpublish", "on_play", "on_stop", "on_dvr", "on_hls",
            "on_hls_notify",
        ]
        for child in directive.block ?? [] where child.name != "enabled" {
            guard known.contains(child.name) else {
                self.note(child, "there is no such callback")
                continue
            }
            self.setStream("hooks.\(child.name)", child.arguments, child)
        }
    }

    mutating func readForward(_ directive: SRSDirective) {
        // `forward host:port;` of older versions.
        var destinations = directive.block == nil ? directive.arguments : []
        var source = directive
        if let block = directive.block {
            guard Self.isEnabled(directive) else { return }
            if let backend = block.last(where: { $0.name == "backend" }) {
                self.setStream("hooks.on_forward", backend.arguments, backend)
            }
            for child in block where !["enabled", "destination", "backend"].contains(child.name) {
                self.note(child, "the directive is not known")
            }
            guard let child = block.last(where: { $0.name == "destination" }) else { return }
            destinations = child.arguments
            source = child
        }
        let isDefault = self.vhosts.last?.name == "__defaultVhost__"
        self.setStream(
            "forward.destinations",
            destinations.map { "rtmp://\($0)/[app]/[stream]" + (isDefault ? "" : "?vhost=[vhost]") }, source)
    }

    /// SRS denies what no rule names, once there is an `allow` for any action, or no rule at all.
    mutating func readSecurity(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else { return }
        var rules: [String: [String]] = [:]
        for child in directive.block ?? [] where child.name != "enabled" {
            guard ["allow", "deny"].contains(child.name), child.arguments.count == 2,
                ["play", "publish"].contains(child.arguments[0])
            else {
                self.note(child, "expected allow or deny, then play or publish, then an address")
                continue
            }
            rules["\(child.arguments[0]).\(child.name)", default: []].append(child.arguments[1])
        }
        let hasAllow = rules.keys.contains { $0.hasSuffix(".allow") }
        for action in ["publish", "play"] {
            if let list = rules["\(action).allow"] { self.setStream("access.\(action).allow", list, directive) }
            if let list = rules["\(action).deny"] { self.setStream("access.\(action).deny", list, directive) }
            if rules["\(action).allow"] == nil, hasAllow || rules.isEmpty {
                self.setStream(
                    "access.\(action).deny", ["all"], directive,
                    comment: "as in SRS: nothing allows it")
            }
        }
    }

    mutating func readRefer(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else { return }
        var domains: [String] = []
        for child in directive.block ?? [] where child.name != "enabled" {
            switch child.name {
            case "all", "play": domains += child.arguments
            case "publish":
                self.note(child, "publishers are not asked for a page; stream.access.publish has other rules")
            default: self.note(child, "the directive is not known")
            }
        }
        guard !domains.isEmpty else { return }
        self.setStream(
            "access.referer.allow", domains.flatMap { [$0, "*.\($0)"] }, directive,
            comment: "for HTTP, too; whole names, where SRS compares how they end")
        self.setStream("access.referer.allow_empty", ["false"], directive)
    }

    mutating func readRemux(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else { return }
        for child in directive.block ?? [] {
            switch child.name {
            case "enabled": break
            case "mount":
                let mount = child.arguments.first ?? ""
                let isServed = [".flv", ".ts", ".aac", ".mp3"].contains { ending in
                    let path = "[app]/[stream]\(ending)"
                    return mount.hasSuffix(path)
                        && ["", "[vhost]/", "/", "[vhost]"].contains(mount.dropLast(path.count))
                }
                guard !isServed else { continue }
                self.note(child, "streams are at /[app]/[stream].flv, .ts, .aac and .mp3")
            case "fast_cache":
                if child.arguments.first != "0" { self.note(child, "there is no cache of audio alone") }
            case "has_audio", "has_video", "guess_has_av", "drop_if_not_match":
                self.note(.notNeeded, child, "the flags of FLV follow the stream's tracks")
            default: self.note(child, "the directive is not known")
            }
        }
    }
}
