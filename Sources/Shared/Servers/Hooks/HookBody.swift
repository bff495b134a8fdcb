import Media
import NIOCore
import StreamHub

/// Writes one JSON object, members in the order in which they are added.
struct JSONObjectWriter {
    private var bytes: [UInt8] = [UInt8(ascii: "{")]

    mutating func add(_ name: String, _ value: String) { self.add(name) { Self.write(value, into: &$0) } }
    mutating func add(_ name: String, _ value: some BinaryInteger) { self.add(name, json: "\(value)") }
    /// A number that is finite.
    mutating func add(_ name: String, seconds millis: Int64) { self.add(name, json: "\(Double(millis) / 1_000)") }
    /// A value that is JSON already.
    mutating func add(_ name: String, json: String) { self.add(name) { $0 += Array(json.utf8) } }

    mutating func add(_ name: String, list: [String]) {
        self.add(name) { bytes in
            bytes.append(UInt8(ascii: "["))
            for (index, text) in list.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                Self.write(text, into: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        }
    }

    private mutating func add(_ name: String, _ body: (inout [UInt8]) -> Void) {
        if self.bytes.count > 1 { self.bytes.append(UInt8(ascii: ",")) }
        Self.write(name, into: &self.bytes)
        self.bytes.append(UInt8(ascii: ":"))
        body(&self.bytes)
    }

    func finish() -> ByteBuffer { ByteBuffer(bytes: self.bytes + [UInt8(ascii: "}")]) }

    /// A string, with the escapes of RFC 8259 §7.
    private static func write(_ text: String, into bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
            case 0..<0x20:
                let digits = Array("0123456789abcdef".utf8)
                bytes += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}

/// The bodies of SRS's hooks, with the fields and the order of SRS 6, then our own: `node`, `transport` and what each
/// event says.
struct HookBodies: Sendable {
    let configuration: HooksConfiguration
    /// The process's folder.
    let folder: String

    private func start(_ event: HookEvent, _ key: StreamKey, _ peer: HookPeer) -> JSONObjectWriter {
        var body = JSONObjectWriter()
        body.add("server_id", self.configuration.serverID)
        body.add("service_id", self.configuration.serviceID)
        body.add("action", event.rawValue)
        body.add("client_id", peer.id)
        body.add("ip", peer.ip)
        body.add("vhost", key.vhost)
        body.add("app", key.app)
        return body
    }

    private func finish(_ body: JSONObjectWriter, _ peer: HookPeer) -> ByteBuffer {
        var body = body
        body.add("node", self.configuration.node)
        body.add("transport", peer.transport)
        return body.finish()
    }

    private func addStream(_ key: StreamKey, _ peer: HookPeer, to body: inout JSONObjectWriter) {
        body.add("tcUrl", peer.tcURL)
        body.add("stream", key.name)
        body.add("param", peer.parameter)
        self.addStreamID(key, to: &body)
    }

    private func addStreamID(_ key: StreamKey, to body: inout JSONObjectWriter) {
        let vhost = key.vhost == StreamKey.defaultVhost ? "" : key.vhost
        body.add("stream_url", "\(vhost)/\(key.app)/\(key.name)")
        body.add("stream_id", SRSIdentifiers.stream(key))
    }

    /// An event that a session waits for.
    func deciding(_ event: HookEvent, _ key: StreamKey, _ peer: HookPeer) -> ByteBuffer {
        var body = self.start(event, key, peer)
        switch event {
        case .onConnect:
            body.add("stream", key.name)
            body.add("param", peer.parameter)
            body.add("tcUrl", peer.tcURL)
            body.add("pageUrl", peer.pageURL)
        case .onForward:
            body.add("tcUrl", peer.tcURL)
            body.add("stream", key.name)
            body.add("param", peer.parameter)
        default:
            self.addStream(key, peer, to: &body)
            if event == .onPlay { body.add("pageUrl", peer.pageURL) }
        }
        return self.finish(body, peer)
    }

    /// `on_unpublish`, `on_stop`.
    func ended(
        _ event: HookEvent, _ activity: SessionActivity, _ peer: HookPeer, _ result: SessionResult
    ) -> ByteBuffer {
        var body = self.start(event, activity.key, peer)
        self.addStream(activity.key, peer, to: &body)
        body.add("epoch", activity.epoch)
        body.add("reason", result.end.rawValue)
        body.add("duration", seconds: result.duration.nanoseconds / 1_000_000)
        body.add("send_bytes", result.sentBytes)
        body.add("recv_bytes", result.receivedBytes)
        return self.finish(body, peer)
    }

    func closed(_ key: StreamKey, _ peer: HookPeer, sent: UInt64, received: UInt64) -> ByteBuffer {
        var body = self.start(.onClose, key, peer)
        body.add("send_bytes", sent)
        body.add("recv_bytes", received)
        return self.finish(body, peer)
    }

    func recorded(_ recording: HookRecording, _ peer: HookPeer) -> ByteBuffer {
        var body = self.start(.onDVR, recording.key, peer)
        self.addStream(recording.key, peer, to: &body)
        body.add("cwd", self.folder)
        body.add("file", recording.path)
        body.add("epoch", recording.epoch)
        body.add("duration", seconds: recording.durationMillis)
        body.add("bytes", recording.byteCount)
        body.add("recording", recording.id)
        return self.finish(body, peer)
    }

    func segment(_ segment: HookSegment, _ peer: HookPeer) -> ByteBuffer {
        var body = self.start(.onHLS, segment.key, peer)
        self.addStream(segment.key, peer, to: &body)
        body.add("duration", seconds: segment.durationMillis)
        body.add("cwd", self.folder)
        body.add("file", segment.path)
        body.add("url", segment.url)
        body.add("m3u8", segment.playlistPath)
        body.add("m3u8_url", segment.playlistURL)
        body.add("seq_no", segment.sequence)
        body.add("epoch", segment.epoch)
        body.add("track", segment.track)
        body.add("bytes", segment.byteCount)
        return self.finish(body, peer)
    }
}
