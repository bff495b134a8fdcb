import NIOCore
import SRSConfig

/// HLS, DASH and recordings of a vhost.
extension SRSImport {
    mutating func readHLS(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else { return }
        let block = directive.block ?? []
        func value(_ name: String, _ fallback: String) -> String {
            block.last { $0.name == name }?.arguments.first ?? fallback
        }
        self.setStream("hls.enabled", ["true"], directive)
        if !self.hasStreamKey("hls.dash") {
            self.setStream("hls.container", ["mpegts"], directive, comment: "as SRS; fmp4 has low latency and DASH")
            self.setStream("hls.dash", ["false"], directive)
        }
        self.setSeconds(
            "hls.segment_duration", value("hls_fragment", "10"), scale: value("hls_td_ratio", "1"), directive)
        self.setSeconds("hls.window", value("hls_window", "60"), scale: "1", directive)
        self.setStream("hls.groups", ["false"], directive)
        for child in block { self.readHLSDirective(child) }
    }

    private mutating func readHLSDirective(_ directive: SRSDirective) {
        switch directive.name {
        case "enabled", "hls_fragment", "hls_td_ratio", "hls_window": break
        case "hls_aof_ratio":
            let percent = Double(directive.arguments.first ?? "").map { Int(min(max($0, 0), 1_000) * 100 + 0.5) }
            self.setStream("hls.maximum_segment_percent", ["\(percent ?? 0)"], directive)
        case "hls_path": self.set("media.directory", directive.arguments.prefix1, directive)
        case "hls_dispose": self.setSeconds("hls.dispose", directive.arguments.first ?? "", scale: "1", directive)
        case "hls_keys":
            if self.flag(directive) == true { self.setStream("hls.encryption", ["true"], directive) }
        case "hls_fragments_per_key": self.setStream("hls.segments_per_key", directive.arguments.prefix1, directive)
        case "hls_m3u8_file":
            if directive.arguments.first != "[app]/[stream].m3u8" {
                self.note(directive, "playlists are at /[app]/[stream].m3u8")
            }
        case "hls_ts_file":
            self.note(directive, "stream.hls.path needs [track], [epoch] and [seq], so that no file replaces another")
        case "hls_key_file", "hls_key_file_path", "hls_key_url":
            self.note(.notNeeded, directive, "keys are beside their segments")
        case "hls_entry_prefix": self.note(directive, "playlists name their segments relative to themselves")
        case "hls_cleanup":
            if self.flag(directive) == false {
                self.note(directive, "segments leave with the window; stream.dvr records")
            }
        case "hls_wait_keyframe":
            if self.flag(directive) == false { self.note(directive, "segments begin with keyframes") }
        case "hls_ts_floor":
            if self.flag(directive) == true { self.note(directive, "segments do not follow the clock") }
        case "hls_acodec", "hls_vcodec", "hls_dts_directly", "hls_ctx", "hls_ts_ctx", "hls_nb_notify", "hls_storage",
            "hls_mount", "hls_on_error":
            self.note(.notNeeded, directive, "Weir finds this out by itself, or does not fail so")
        default: self.note(directive, "the directive is not known")
        }
    }

    mutating func readDASH(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else { return }
        self.setStream("hls.enabled", ["true"], directive)
        self.setStream("hls.container", ["fmp4"], directive, comment: "for DASH and HLS")
        self.setStream("hls.dash", ["true"], directive)
        let block = directive.block ?? []
        let fragment = block.last { $0.name == "dash_fragment" }?.arguments.first ?? "10"
        let hasDuration = self.hasStreamKey("hls.segment_duration")
        if !hasDuration {
            self.setSeconds("hls.segment_duration", fragment, scale: "1", directive)
        }
        for child in block {
            switch child.name {
            case "enabled": break
            case "dash_fragment":
                if hasDuration { self.note(child, "HLS and DASH have the same segments: stream.hls.segment_duration") }
            case "dash_window_size":
                guard !self.hasStreamKey("hls.window") else { continue }
                self.setSeconds("hls.window", fragment, scale: child.arguments.first ?? "", child)
            case "dash_path": self.set("media.directory", child.arguments.prefix1, child)
            case "dash_dispose":
                guard !self.hasStreamKey("hls.dispose") else { continue }
                self.setSeconds("hls.dispose", child.arguments.first ?? "", scale: "1", child)
            case "dash_mpd_file":
                if child.arguments.first != "[app]/[stream].mpd" {
                    self.note(child, "manifests are at /[app]/[stream].mpd")
                }
            case "dash_cleanup":
                if self.flag(child) == false { self.note(child, "segments leave with the window; stream.dvr records") }
            case "dash_update_period", "dash_timeshift":
                self.note(.notNeeded, child, "follows from the segments")
            default: self.note(child, "the directive is not known")
            }
        }
    }

    mutating func readDVR(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else { return }
        guard self.role == .origin else { return self.note(directive, "origins record, edges do not") }
        let block = directive.block ?? []
        self.setStream("dvr.enabled", ["true"], directive)
        let path = block.last { $0.name == "dvr_path" }
        self.readDVRPath(
            path?.arguments.first ?? "./objs/nginx/html/[app]/[stream].[timestamp].flv", path ?? directive)
        for child in block {
            switch child.name {
            case "enabled", "dvr_path": break
            case "dvr_plan": self.setStream("dvr.plan", child.arguments.prefix1, child)
            case "dvr_duration": self.setSeconds("dvr.segment_duration", child.arguments.first ?? "", scale: "1", child)
            case "dvr_apply":
                if child.arguments != ["all"] {
                    self.note(child, "whole apps are recorded: set dvr.enabled for an app of the vhost, or use the API")
                }
            case "dvr_wait_keyframe":
                if self.flag(child) == false { self.note(child, "recordings begin with keyframes") }
            case "time_jitter": self.note(.notNeeded, child, "recordings begin at zero")
            default: self.note(child, "the directive is not known")
            }
        }
        if !block.contains(where: { $0.name == "dvr_duration" }), self.hasStreamKey("dvr.plan") {
            self.setStream("dvr.segment_duration", ["30s"], directive, comment: "the default of SRS")
        }
    }

    /// The folder before the first variable is that of all recordings; the rest is the path of one.
    private mutating func readDVRPath(_ path: String, _ directive: SRSDirective) {
        let start = path.firstIndex(of: "[") ?? path.endIndex
        let slash = path[..<start].lastIndex(of: "/")
        let folder = slash.map { String(path[..<$0]) } ?? "."
        var rest = slash.map { String(path[path.index(after: $0)...]) } ?? path
        var format = "flv"
        for known in ["mp4", "flv"] where rest.hasSuffix(".\(known)") {
            format = known
            rest = String(rest.dropLast(known.count)) + "[ext]"
        }
        if !rest.contains("[stream]") { rest += "/[stream].[timestamp].[ext]" }
        self.set("media.recordings", [folder.isEmpty ? "/" : folder], directive)
        self.setStream("dvr.format", [format], directive)
        self.setStream("dvr.path", [rest], directive)
    }

    /// Seconds, with a fraction, times a factor.
    private mutating func setSeconds(_ key: String, _ text: String, scale: String, _ directive: SRSDirective) {
        guard let seconds = Double(text), let factor = Double(scale), seconds >= 0, factor > 0,
            seconds * factor < 1_000_000_000
        else { return self.note(directive, "expected seconds, found \"\(text)\"") }
        let millis = Int64((seconds * factor * 1_000).rounded())
        self.setStream(key, [DurationText.write(.milliseconds(millis))], directive)
    }
}
