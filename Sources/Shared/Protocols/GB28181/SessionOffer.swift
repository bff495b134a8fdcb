import NIOCore

/// The session descriptions of GB/T 28181, which have lines of their own. Spec: annex C of GB/T 28181-2016, RFC 4566.
enum SessionOffer {
    /// Our offer: a program stream to `host` and `port`.
    static func text(_ plan: MediaPlan, serverID: String, host: String, port: Int) -> String {
        let family = host.contains(":") ? "IP6" : "IP4"
        var (name, time, uri) = ("Play", "0 0", "")
        var speed: Int?
        switch plan.what {
        case .live: break
        case .playback(let start, let end):
            (name, time, uri) = ("Playback", "\(start) \(end)", "u=\(plan.source.channel):0\r\n")
        case .download(let start, let end, let factor):
            (name, time, uri) = ("Download", "\(start) \(end)", "u=\(plan.source.channel):0\r\n")
            speed = factor
        }
        var text = "v=0\r\no=\(serverID) 0 0 IN \(family) \(host)\r\ns=\(name)\r\n\(uri)"
        text += "c=IN \(family) \(host)\r\nt=\(time)\r\n"
        text += "m=video \(port) \(plan.transport.isTCP ? "TCP/RTP/AVP" : "RTP/AVP") 96\r\n"
        text += "a=recvonly\r\na=rtpmap:96 PS/90000\r\n"
        switch plan.transport {
        case .udp: break
        case .tcpPassive: text += "a=setup:passive\r\na=connection:new\r\n"
        case .tcpActive: text += "a=setup:active\r\na=connection:new\r\n"
        }
        if let speed { text += "a=downloadspeed:\(speed)\r\n" }
        return text + "y=\(self.digits(plan.ssrc))\r\nf=\r\n"
    }

    /// Ten digits.
    static func digits(_ ssrc: UInt32) -> String { String(String(10_000_000_000 + UInt64(ssrc)).dropFirst()) }
}

/// What a device answers, as far as it matters. Reads any text: what cannot be understood is passed over.
struct SessionAnswer: Equatable {
    /// Where the media come from, or where to connect to.
    var host: String?
    var port: Int?
    /// The source that the device chose instead of ours.
    var ssrc: UInt32?
    var isTCP = false
    /// `active` or `passive`.
    var setup: String?
    /// Bytes of the recording that is downloaded.
    var fileSize: UInt64?

    init(parsing body: ByteBuffer) {
        var hasMedia = false
        let lines = body.readableBytesView.prefix(64 << 10).split { $0 == 10 || $0 == 13 }.prefix(512)
        for line in lines where line.count > 2 && line[line.startIndex + 1] == UInt8(ascii: "=") {
            let value = String(decoding: line.dropFirst(2), as: UTF8.self)
            let words = value.split(separator: " ")
            switch line[line.startIndex] {
            case UInt8(ascii: "c") where words.count >= 3:
                self.host = String(words[2].prefix { $0 != "/" })
            case UInt8(ascii: "m") where words.count >= 3 && !hasMedia:
                hasMedia = true
                self.port = Int(words[1].prefix { $0 != "/" }).flatMap { (1...65_535).contains($0) ? $0 : nil }
                self.isTCP = words[2].uppercased().hasPrefix("TCP")
            case UInt8(ascii: "y"):
                self.ssrc = words.first.flatMap { UInt32($0) }
            case UInt8(ascii: "a"):
                if value.hasPrefix("setup:") { self.setup = value.dropFirst(6).lowercased() }
                if value.hasPrefix("filesize:") { self.fileSize = UInt64(value.dropFirst(9)) }
            default: break
            }
        }
    }
}
