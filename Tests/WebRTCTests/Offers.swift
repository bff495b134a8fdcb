/// Offers as programs sent them, or as they are known to be; lines end in CRLF as on the wire.
enum Offers {
    static func lines(_ text: String) -> String {
        text.replacing("\n", with: "\r\n") + "\r\n"
    }

    /// Every offer of a publisher.
    static let publishers: [(name: String, offer: String)] = [
        ("Chromium", chromiumPublish), ("Chromium with simulcast", chromiumSimulcast),
        ("Chromium's data", chromiumData),
        ("aiortc", aiortcPublish), ("GStreamer", gstreamerPublish), ("FFmpeg", ffmpegPublish),
        ("FFmpeg as client", ffmpegActive), ("Firefox", firefoxPublish), ("Safari", safariPublish), ("OBS", obsPublish),
    ]

    /// Every offer of a player.
    static let players: [(name: String, offer: String)] = [
        ("Chromium", chromiumPlay), ("aiortc", aiortcPlay), ("GStreamer", gstreamerPlay), ("Safari", safariPlay),
        ("Firefox", firefoxPlay),
    ]
}
