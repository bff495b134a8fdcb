package import NIOCore

/// How the playback of a recording goes on, as the body of SIP's INFO. Spec: GB/T 28181 annex B (MANSRTSP).
package enum PlaybackControl: Sendable, Hashable {
    case pause
    /// Goes on where it paused.
    case resume
    /// Thousandths of the normal speed, such as 500 or 4000; backward below 0.
    case scale(thousandths: Int)
    /// Seconds from the start of what was asked for.
    case seek(seconds: Int)
    case teardown

    /// The type of a SIP body that is one.
    package static let contentType = "Application/MANSRTSP"

    /// `sequence` counts the bodies of a dialog from 1.
    package func body(sequence: UInt32) -> ByteBuffer {
        let (method, fields): (String, String) =
            switch self {
            case .pause: ("PAUSE", "PauseTime: now\r\n")
            case .resume: ("PLAY", "Range: npt=now-\r\n")
            case .scale(let thousandths): ("PLAY", "Scale: \(Self.decimal(thousandths))\r\n")
            case .seek(let seconds): ("PLAY", "Range: npt=\(max(0, seconds))-\r\n")
            case .teardown: ("TEARDOWN", "")
            }
        return ByteBuffer(string: "\(method) MANSRTSP/1.0\r\nCSeq: \(sequence)\r\n\(fields)\r\n")
    }

    private static func decimal(_ thousandths: Int) -> String {
        let fraction = String(thousandths.magnitude % 1_000 + 1_000).dropFirst()
        return "\(thousandths < 0 ? "-" : "")\(thousandths.magnitude / 1_000).\(fraction)"
    }
}
