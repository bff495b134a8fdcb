import Media
import SRSConfig

/// The directives of a vhost.
extension SRSImport {
    /// Directives of older versions that stood directly in the vhost, by the block that they belong to.
    private static let legacy: [String: String] = [
        "gop_cache": "play", "gop_cache_max_frames": "play", "queue_length": "play", "time_jitter": "play",
        "mix_correct": "play", "atc": "play", "atc_auto": "play", "mw_latency": "play", "mw_msgs": "play",
        "send_min_interval": "play", "reduce_sequence_header": "play", "mr": "publish", "mr_latency": "publish",
        "publish_1stpkt_timeout": "publish", "publish_normal_timeout": "publish", "mode": "cluster",
        "origin": "cluster", "token_traverse": "cluster", "debug_srs_upnode": "cluster", "refer_play": "refer",
        "refer_publish": "refer",
    ]

    mutating func readVhost(_ directive: SRSDirective) {
        guard let name = self.argument(directive) else { return }
        guard (try? StreamKey(vhost: name, app: "any", name: "any")) != nil else {
            return self.note(directive, "a vhost cannot have this name")
        }
        guard !self.vhosts.contains(where: { $0.name.lowercased() == name.lowercased() }) else {
            return self.note(directive, "the vhost is there twice")
        }
        let block = directive.block ?? []
        if block.last(where: { $0.name == "enabled" })?.arguments.first == "off" {
            return self.note(directive, "the vhost is off; leave it out, or refuse its streams with stream.access")
        }
        self.beginVhost(name)
        if !block.contains(where: { ["hls", "dash"].contains($0.name) && Self.isEnabled($0) }) {
            self.setStream("hls.enabled", ["false"], directive)
        }
        self.readLatency(block)
        for child in block { self.readVhostDirective(child) }
    }

    private mutating func readVhostDirective(_ directive: SRSDirective) {
        let block = directive.block ?? []
        switch directive.name {
        case "enabled", "min_latency": break
        case "tcp_nodelay":
            if self.flag(directive) == true { self.setStream("play.tcp_nodelay", ["on"], directive) }
        case "chunk_size": self.set("rtmp.chunk_size", directive.arguments.prefix1, directive)
        case "out_ack_size": self.set("rtmp.window_ack_size", directive.arguments.prefix1, directive)
        case "in_ack_size": self.note(.notNeeded, directive, "acknowledgements are always sent")
        case "play": for child in block { self.readPlay(child) }
        case "publish": for child in block { self.readPublish(child) }
        case "cluster": self.readCluster(block)
        case "hls": self.readHLS(directive)
        case "dash": self.readDASH(directive)
        case "dvr": self.readDVR(directive)
        case "http_hooks": self.readHooks(directive)
        case "http_remux": self.readRemux(directive)
        case "security": self.readSecurity(directive)
        case "refer": self.readRefer(directive)
        case "forward": self.readForward(directive)
        case "rtc": self.readRTC(directive)
        case "srt": self.readSRT(directive)
        case "rtsp": self.readRTSP(directive)
        case let name:
            switch Self.legacy[name] {
            case "play": self.readPlay(directive)
            case "publish": self.readPublish(directive)
            case "cluster": self.readCluster([directive])
            case "refer": self.note(directive, "write it in a block refer { enabled on; … } first")
            default: self.noteOther(directive)
            }
        }
    }

    private mutating func noteOther(_ directive: SRSDirective) {
        let texts = [
            "transcode": "streams are not transcoded; a program that plays and publishes can",
            "ingest":
                "rtsp.pulls and srt.pulls fetch from cameras and servers; a program that publishes can send files",
            "exec": "no programs are started; stream.hooks.on_publish calls a server that can",
            "hds": "HDS is not served",
            "http_static": "only files of streams are served", "bandcheck": "there is no bandwidth test",
            "include": "the file is not read: import it on its own, or put it here",
        ]
        if directive.block != nil, !Self.isEnabled(directive), texts[directive.name] != nil,
            directive.name != "include"
        {
            return
        }
        self.note(directive, texts[directive.name] ?? "the directive is not known")
    }

    // MARK: Play and publish

    /// `min_latency` and `mw_latency` together are `stream.latency`.
    private mutating func readLatency(_ block: [SRSDirective]) {
        let inner = block + block.filter { $0.name == "play" }.flatMap { $0.block ?? [] }
        if let directive = inner.last(where: { $0.name == "min_latency" }), directive.arguments.first == "on" {
            return self.setStream("latency", ["realtime"], directive)
        }
        guard let directive = inner.last(where: { $0.name == "mw_latency" }) else { return }
        guard let text = directive.arguments.first, let millis = Int(text), millis >= 0 else {
            return self.note(directive, "expected milliseconds")
        }
        let latency = millis <= 50 ? "realtime" : millis <= 200 ? "low" : "balanced"
        let exact = ["realtime": 0, "low": 100, "balanced": 350][latency] == millis
        self.setStream(
            "latency", [latency], directive,
            comment: exact ? nil : "\(millis) ms in SRS; here it is each frame, 100 ms or 350 ms")
    }

    private mutating func readPlay(_ directive: SRSDirective) {
        switch directive.name {
        case "gop_cache":
            if let isOn = self.flag(directive) { self.setStream("gop_cache", [isOn ? "true" : "false"], directive) }
        case "queue_length":
            self.setStream(
                "play.slow_viewer_age", directive.arguments.prefix1.map { "\($0)s" }, directive,
                comment: "then a viewer skips to the next keyframe")
        case "mw_latency", "min_latency": break
        case "tcp_nodelay":
            if self.flag(directive) == true { self.setStream("play.tcp_nodelay", ["on"], directive) }
        case "gop_cache_max_frames":
            self.note(.notNeeded, directive, "the cache is bounded by stream.gop_cache_maximum_bytes")
        case "time_jitter" where directive.arguments.first == "full", "mw_msgs":
            self.note(.notNeeded, directive, "Weir does so by itself")
        case "mix_correct", "atc", "atc_auto", "reduce_sequence_header":
            if self.flag(directive) == true { self.note(directive, "timestamps are joined, and otherwise kept") }
        case "send_min_interval":
            if directive.arguments.first != "0" { self.note(directive, "frames are not paced") }
        default: self.note(directive, "Weir has nothing like it")
        }
    }

    private mutating func readPublish(_ directive: SRSDirective) {
        switch directive.name {
        case "firstpkt_timeout", "publish_1stpkt_timeout":
            self.set(
                "rtmp.publish_first_media_timeout", directive.arguments.prefix1.map { "\($0)ms" }, directive,
                comment: "for all vhosts")
        case "normal_timeout", "publish_normal_timeout":
            self.set(
                "rtmp.publish_idle_timeout", directive.arguments.prefix1.map { "\($0)ms" }, directive,
                comment: "for all vhosts")
        case "mr", "mr_latency", "parse_sps", "try_annexb_first":
            self.note(.notNeeded, directive, "Weir does so by itself")
        case "kickoff_for_idle":
            if directive.arguments.first != "0" { self.note(directive, "publishers may stay without viewers") }
        default: self.note(directive, "Weir has nothing like it")
        }
    }

    private mutating func readCluster(_ block: [SRSDirective]) {
        let isRemote = block.contains { $0.name == "mode" && $0.arguments.first == "remote" }
        for directive in block {
            switch directive.name {
            case "mode", "debug_srs_upnode", "enabled": break
            case "origin":
                // A legacy vhost has `mode` beside it.
                guard isRemote || block.count == 1, self.argument(directive) != nil else { continue }
                let isEdge = self.role == .edge
                self.set(
                    "cluster.origins", directive.arguments, directive,
                    comment: "for all vhosts" + (isEdge ? "" : "; the program for this is edge"))
            case "origin_cluster", "coworkers":
                if directive.arguments.first == "off" { continue }
                self.note(directive, "origins find each other's streams by a coordinator: cluster.coordinator")
            case "token_traverse", "follow_client":
                guard directive.arguments.first != "off" else { continue }
                self.note(directive, "edges ask access rules and callbacks themselves")
            case "vhost":
                if directive.arguments.first != "[vhost]" { self.note(directive, "edges keep the name of the vhost") }
            case "protocol":
                if directive.arguments.first != "rtmp" { self.note(directive, "edges pull by RTMP") }
            default: self.note(directive, "the directive is not known")
            }
        }
    }
}
