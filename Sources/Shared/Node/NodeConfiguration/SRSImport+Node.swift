import SRSConfig

/// The directives outside of vhosts. Spec: SRS 6, `full.conf`.
extension SRSImport {
    /// What the process manager, the kernel or Weir itself does.
    private static let processDirectives: Set<String> = [
        "daemon", "pid", "work_dir", "asprocess", "srs_log_tank", "srs_log_file", "ff_log_dir", "ff_log_level",
        "pithy_print_ms", "threads", "circuit_breaker", "stats", "tcmalloc_release_rate", "query_latest_version",
        "first_wait_for_qlv", "empty_ip_ok", "in_docker", "disable_daemon_for_docker", "auto_reload_for_docker",
        "inotify_auto_reload", "grace_start_wait", "grace_final_wait", "force_grace_quit", "is_full", "server_id",
    ]

    mutating func readGlobal(_ directive: SRSDirective) {
        switch directive.name {
        case "listen":
            guard self.argument(directive) != nil else { return }
            self.set("rtmp.listen", directive.arguments.map(Self.address), directive)
        case "max_connections":
            let comment = "SRS counts RTMP and HTTP together"
            self.set("rtmp.maximum_connections", directive.arguments.prefix1, directive, comment: comment)
            self.set("http.maximum_connections", directive.arguments.prefix1, directive, comment: comment)
        case "chunk_size": self.set("rtmp.chunk_size", directive.arguments.prefix1, directive)
        case "utc_time":
            guard self.role == .origin, let isUTC = self.flag(directive) else { return }
            self.set("media.utc", [isUTC ? "true" : "false"], directive)
        case "srs_log_level", "srs_log_level_v2": self.readLogLevel(directive)
        case "heartbeat": self.readHeartbeat(directive)
        case "http_api": self.readAPI(directive)
        case "http_server", "http_stream": self.readHTTPServer(directive)
        case "rtmps": self.readTLS(directive, section: "rtmp.tls", defaultPort: "1443")
        case "exporter": self.readExporter(directive)
        case "rtc_server": self.readRTCServer(directive)
        case "srt_server": self.readSRTServer(directive)
        case "rtsp_server": self.readRTSPServer(directive)
        case "stream_caster":
            guard Self.isEnabled(directive), !self.readGB28181(directive) else { return }
            self.readCaster(directive)
        case "tencentcloud_cls", "tencentcloud_apm":
            guard Self.isEnabled(directive) else { return }
            self.note(directive, "logs are lines or JSON on standard error (log.format), numbers at /metrics")
        case "include": self.note(directive, "the file is not read: import it on its own, or put it here")
        case let name where Self.processDirectives.contains(name):
            self.note(.notNeeded, directive, "the service manager does this, or nobody has to")
        default: self.note(directive, "the directive is not known")
        }
    }

    /// `1935` is every address.
    static func address(_ text: String) -> String {
        text.allSatisfy(\.isNumber) ? ":\(text)" : text
    }

    private mutating func readLogLevel(_ directive: SRSDirective) {
        let levels = [
            "verbose": "trace", "info": directive.name == "srs_log_level" ? "debug" : "info",
            "trace": directive.name == "srs_log_level" ? "info" : "trace", "debug": "debug", "warn": "warning",
            "error": "error",
        ]
        guard let level = self.argument(directive) else { return }
        guard let equal = levels[level] else { return self.note(directive, "the level is not known") }
        self.set("log.level", [equal], directive)
    }

    private mutating func readHeartbeat(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else { return }
        self.set("heartbeat.enabled", ["true"], directive)
        for child in directive.block ?? [] {
            switch child.name {
            case "enabled": break
            case "interval": self.set("heartbeat.interval", child.arguments.prefix1.map { "\($0)s" }, child)
            case "url": self.set("heartbeat.url", child.arguments.prefix1, child)
            case "device_id": self.set("heartbeat.device_id", child.arguments.prefix1, child)
            case "summaries", "ports":
                guard let isOn = self.flag(child) else { continue }
                self.set("heartbeat.\(child.name)", [isOn ? "true" : "false"], child)
            default: self.note(child, "the directive is not known")
            }
        }
        if !self.hasKey("heartbeat.url") {
            self.set(
                "heartbeat.url", ["http://127.0.0.1:8085/api/v1/servers"], directive, comment: "the default of SRS")
        }
    }

    /// Certificates, with SRS's own paths where none are named.
    private mutating func readTLS(_ directive: SRSDirective, section: String, defaultPort: String) {
        guard Self.isEnabled(directive) else { return }
        let block = directive.block ?? []
        func value(_ name: String, _ fallback: String) -> [String] {
            [block.last { $0.name == name }?.arguments.first ?? fallback]
        }
        self.set("\(section).listen", value("listen", defaultPort).map(Self.address), directive)
        self.set("\(section).certificate", value("cert", "./conf/server.crt"), directive)
        self.set("\(section).key", value("key", "./conf/server.key"), directive)
    }

    private mutating func readHTTPServer(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else {
            self.set("http.listen", [], directive, comment: "off in SRS")
            return
        }
        var hasListen = false
        for child in directive.block ?? [] {
            switch child.name {
            case "enabled": break
            case "listen":
                hasListen = true
                self.set("http.listen", child.arguments.map(Self.address), child)
            case "crossdomain":
                if self.flag(child) == false { self.set("http.cors", [], child) }
            case "https": self.readTLS(child, section: "http.tls", defaultPort: "8088")
            case "dir": self.note(child, "only files of streams are served; `/` is a page that plays them")
            default: self.note(child, "the directive is not known")
            }
        }
        if !hasListen { self.set("http.listen", [":8080"], directive) }
    }

    private mutating func readAPI(_ directive: SRSDirective) {
        let block = directive.block ?? []
        let isOn = Self.isEnabled(directive)
        let auth = block.last { $0.name == "auth" }.flatMap { Self.isEnabled($0) ? $0 : nil }
        let listen = block.last { $0.name == "listen" }
        let address = Self.address(listen?.arguments.first ?? "1985")
        if !isOn {
            self.set(
                "api.listen", ["127.0.0.1:1985"], directive, comment: "off in SRS; here it is on loopback at least")
            return
        }
        if let auth {
            for (name, key) in [("username", "api.username"), ("password", "api.password")] {
                guard let child = auth.block?.last(where: { $0.name == name }) else { continue }
                self.set(key, child.arguments.prefix1, child)
            }
        }
        if self.hasKey("api.username"), self.hasKey("api.password") {
            self.set("api.listen", [address], listen ?? directive)
        } else {
            let port = address.split(separator: ":").last.map(String.init) ?? "1985"
            self.set(
                "api.listen", ["127.0.0.1:\(port)"], listen ?? directive,
                comment: "other addresses need api.token, or api.username and api.password")
        }
        for child in block {
            switch child.name {
            case "enabled", "listen", "auth": break
            case "https":
                if self.hasKey("api.username") || !Self.isEnabled(child) {
                    self.readTLS(child, section: "api.tls", defaultPort: "1990")
                } else {
                    self.note(child, "api.tls.listen needs api.token, or api.username and api.password")
                }
            case "crossdomain":
                guard self.flag(child) == true else { continue }
                self.note(child, "pages of other origins may not use the API unless api.cors names them")
            case "raw_api": self.note(.notNeeded, child, "reload is always there, for who may use the API")
            default: self.note(child, "the directive is not known")
            }
        }
    }

    private mutating func readExporter(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else { return }
        self.note(.notNeeded, directive, "metrics are at /metrics of api.listen")
        for child in directive.block ?? [] where child.name == "label" || child.name == "tag" {
            self.note(child, "Prometheus adds labels to what it scrapes")
        }
    }

    /// What depends on several directives.
    mutating func finish(_ statements: [SRSDirective]) {
        guard let first = statements.first else { return }
        if !statements.contains(where: { $0.name == "http_server" || $0.name == "http_stream" }) {
            self.set("http.listen", [], first, comment: "without http_server SRS has none")
        }
        if !statements.contains(where: { $0.name == "srt_server" }) {
            self.set("srt.enabled", ["false"], first, comment: "without srt_server SRS has none")
        }
        if !statements.contains(where: { $0.name == "rtsp_server" }) {
            self.set("rtsp.enabled", ["false"], first, comment: "without rtsp_server SRS has none")
        }
        if !statements.contains(where: { $0.name == "rtc_server" }) {
            self.set("rtc.enabled", ["false"], first, comment: "without rtc_server SRS has none")
        }
    }
}

extension [String] {
    /// The first, as a list that is empty without one.
    var prefix1: [String] { self.isEmpty ? [""] : [self[0]] }
}
