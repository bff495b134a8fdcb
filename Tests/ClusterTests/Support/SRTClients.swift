import Foundation

/// Publishes and plays by SRT, with the programs that there are.
enum SRTClients {
    /// The URL of a stream at a port of this machine, for ffmpeg: its latency is in microseconds.
    static func url(_ port: Int, _ streamID: String, latency: Int = 120, options: String = "") -> String {
        "srt://127.0.0.1:\(port)?streamid=\(streamID)&latency=\(latency * 1_000)&pkt_size=1316\(options)"
    }

    /// Publishes a file in real time with ffmpeg.
    static func publish(
        _ sandbox: Sandbox, _ file: URL, to url: String, loops: Bool = false, name: String = "srt-publisher"
    ) throws -> Child {
        try sandbox.start(
            name, try Tools.ffmpeg,
            Media.quiet + ["-re"] + (loops ? ["-stream_loop", "-1"] : []) + [
                "-i", file.path, "-c", "copy", "-f", "mpegts", url,
            ])
    }

    /// Publishes a file in real time to a peer that calls from `port` while it is called from `local`, with
    /// srt-live-transmit: ffmpeg's rendezvous takes one port for both ends.
    static func meet(_ sandbox: Sandbox, _ file: URL, at port: Int, from local: Int) throws -> Child {
        let words = [try Tools.ffmpeg] + Media.quiet + ["-re", "-i", file.path, "-c", "copy", "-f", "mpegts", "-"]
        let script = """
            "$@" | exec srt-live-transmit -q -chunk:1316 file://con \
                'srt://127.0.0.1:\(port)?mode=rendezvous&port=\(local)&latency=200'
            """
        return try sandbox.start("meeting", "sh", ["-c", script, "sh"] + words)
    }

    /// Plays into a file with ffmpeg.
    static func record(_ sandbox: Sandbox, _ url: String, to name: String) throws -> Recording {
        let file = sandbox.file(name)
        let child = try sandbox.start(
            "record-\(name)", try Tools.ffmpeg,
            Media.quiet + [
                "-i", url, "-map", "0", "-c", "copy", "-flush_packets", "1", "-f", "mpegts", "-y", file.path,
            ])
        return Recording(child: child, file: file)
    }

    /// Plays into a file with srt-live-transmit: what came, as it came.
    static func transmit(_ sandbox: Sandbox, _ port: Int, _ streamID: String, to name: String) throws -> Recording {
        let file = sandbox.file(name)
        let url = "srt://127.0.0.1:\(port)?streamid=\(streamID)&latency=120"
        let child = try sandbox.start(
            "transmit-\(name)", try Tools.command("srt-live-transmit"), ["-q", url, "file://con"], output: file)
        return Recording(child: child, file: file)
    }

    /// Plays into a file with GStreamer.
    static func gstreamer(_ sandbox: Sandbox, _ port: Int, _ streamID: String, to name: String) throws -> Recording {
        let file = sandbox.file(name)
        let child = try sandbox.start(
            "gstreamer-\(name)", try Tools.command("gst-launch-1.0"),
            [
                "-q", "-e", "srtsrc", "uri=srt://127.0.0.1:\(port)", "streamid=\(streamID)", "!", "filesink",
                "location=\(file.path)", "buffer-mode=unbuffered",
            ])
        return Recording(child: child, file: file)
    }
}
