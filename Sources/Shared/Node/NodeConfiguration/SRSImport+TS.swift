import SRSConfig

/// The casters that take media in: transport streams over UDP, and FLV by POST.
extension SRSImport {
    /// A caster that is enabled, and is none of GB28181.
    mutating func readCaster(_ directive: SRSDirective) {
        guard Self.isEnabled(directive) else { return }
        func argument(_ name: String) -> String? {
            directive.block?.last { $0.name == name }?.arguments.first
        }
        switch argument("caster") {
        case "mpegts_over_udp", "mpegts":
            self.readTransportStreamCaster(directive, listen: argument("listen"), output: argument("output"))
        case "flv":
            let how = "FLV is taken at http.listen, unless http.publish is off: POST /[app]/[stream].flv"
            self.note(.notNeeded, directive, how)
        case let other: self.note(directive, "there is no caster \(other ?? "without a name")")
        }
    }

    /// `output rtmp://127.0.0.1/live/livestream` names the stream.
    private mutating func readTransportStreamCaster(_ directive: SRSDirective, listen: String?, output: String?) {
        guard let listen, let output, let scheme = output.firstRange(of: "://"),
            let slash = output[scheme.upperBound...].firstIndex(of: "/")
        else { return self.note(directive, "listen and output are needed, such as rtmp://127.0.0.1/live/livestream") }
        let path = output[output.index(after: slash)...].prefix { $0 != "?" }
        guard path.contains("/"), !path.contains("[") else {
            return self.note(directive, "output has to name one stream; see ts.listeners for streams by port or sender")
        }
        let query = output.firstIndex(of: "?").map { output[output.index(after: $0)...] } ?? ""
        let options = query.split(separator: "&").filter { $0.hasPrefix("token=") || $0.hasPrefix("vhost=") }
        let tail = options.isEmpty ? "" : "?" + options.joined(separator: "&")
        self.append("ts.listeners", "udp://\(Self.address(listen))/\(path)\(tail)", directive)
    }
}
