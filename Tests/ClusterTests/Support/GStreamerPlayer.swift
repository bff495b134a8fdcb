import Foundation

/// Plays RTSP with GStreamer.
enum GStreamerPlayer {
    private static let attempts = 3

    /// Begins to play `url` into a file `name`, and again if nothing comes of it.
    ///
    /// On a busy machine about one of 50 players of GStreamer 1.22 shows nothing for ever, although its own log has every
    /// packet that it got.
    ///
    /// - Parameter pipeline: what follows `rtspsrc`, which is called `r`, and writes into the file.
    static func start(
        _ sandbox: Sandbox, _ url: String, by transports: String, to name: String, _ pipeline: (URL) -> [String]
    ) async throws -> Recording {
        let file = sandbox.file(name)
        for attempt in 1...Self.attempts {
            let child = try sandbox.start(
                "play-\(name)-\(attempt)", try Tools.command("gst-launch-1.0"),
                [
                    "-q", "-e", "rtspsrc", "location=\(url)", "protocols=\(transports)", "tls-validation-flags=0",
                    "latency=500", "name=r",
                ] + pipeline(file))
            let recording = Recording(child: child, file: file)
            let end = ContinuousClock.now + .seconds(6)
            while recording.size == 0, child.isRunning, .now < end { try await Task.sleep(for: .milliseconds(20)) }
            if recording.size > 0 { return recording }
            child.destroy()
            print("\(name): GStreamer showed nothing, attempt \(attempt)")
        }
        throw Failure("GStreamer showed nothing of \(url), \(Self.attempts) times")
    }
}
