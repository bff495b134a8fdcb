import DigestAuthentication
package import Media
import NIOCore
import RTP
package import RTPReceiving
import RTSP
package import SDP

/// A track of somebody who sends: what its section of a session description says.
package struct RTSPSourceTrack: Sendable, Hashable {
    /// The `a=control`, as it stands there; empty if there is none.
    package var control: String
    /// What is received of it.
    package var line: RTPReceivedLine
    /// The codec of each payload type that is received.
    package var codecs: [Codec]
}

/// Why a section gives no track.
package enum RTSPIgnoredReason: Sendable, Hashable {
    /// Neither audio nor video, such as the metadata of cameras.
    case kind(String)
    /// A stream has one track of each kind, and there was one before.
    case secondOfItsKind(MediaKind)
    /// None of its encodings is known here.
    case codecs([String])
    /// Its packets are encrypted, or not RTP.
    case transport(String)
}

/// A session description of somebody who sends: a publisher's announcement, or a camera's description.
///
/// Sections that are of no use are ignored: cameras send more than a stream has. Parameter sets that are broken or missing
/// are no error, because they come in band too. Spec: RFC 2326 §C.1.
package struct RTSPSource: Sendable, Hashable {
    package enum Failure: Error, Sendable, Equatable {
        case description(SDPError)
        /// No section is of use; why not, in the order of the sections.
        case nothingUsable([RTSPIgnoredReason])
    }

    /// At most one of each kind.
    package var tracks: [RTSPSourceTrack]
    package var ignored: [RTSPIgnoredReason]
    /// The controls of the sections that are ignored, which a publisher may set up all the same.
    package var ignoredControls: [String]
    /// The session's own `a=control`; empty if there is none.
    package var control: String

    /// How much of a description is read.
    package static let limits = SessionDescription.Limits(length: 64 << 10, lines: 1_024, mediaDescriptions: 16)

    /// Errors: a description that cannot be read, and one without audio or video that is known here.
    package init(parsing text: String) throws(Failure) {
        let description: SessionDescription
        do {
            description = try SessionDescription(parsing: text, limits: Self.limits)
        } catch {
            throw .description(error)
        }
        self.tracks = []
        self.ignored = []
        self.ignoredControls = []
        self.control = description.attributes.first("control") ?? ""
        for media in description.media {
            switch Self.track(media) {
            case .success(let track) where self.tracks.contains(where: { $0.line.kind == track.line.kind }):
                self.ignore(media, .secondOfItsKind(track.line.kind))
            case .success(let track): self.tracks.append(track)
            case .failure(let reason): self.ignore(media, reason.reason)
            }
        }
        guard !self.tracks.isEmpty else { throw .nothingUsable(self.ignored) }
    }

    private mutating func ignore(_ media: MediaDescription, _ reason: RTSPIgnoredReason) {
        self.ignored.append(reason)
        self.ignoredControls.append(media.attributes.first("control") ?? "")
    }

    private struct Ignored: Error { var reason: RTSPIgnoredReason }

    private static func track(_ media: MediaDescription) -> Result<RTSPSourceTrack, Ignored> {
        guard let kind = MediaKind(rawValue: media.kind.lowercased()) else {
            return .failure(Ignored(reason: .kind(media.kind)))
        }
        let profile = media.transport.uppercased()
        guard profile.hasPrefix("RTP/AVP") else { return .failure(Ignored(reason: .transport(media.transport))) }
        let maps = media.rtpMaps
        var uses: [UInt8: RTPPayloadUse] = [:]
        var codecs: [Codec] = []
        var names: [String] = []
        for format in media.formats {
            guard let number = SDPNumber.unsigned(format, maximum: 127) else { continue }
            let type = UInt8(number)
            let map = maps.first { $0.payloadType == type } ?? self.staticMap(type)
            guard let map else { continue }
            names.append(map.encoding)
            guard let payload = self.payload(map, media.formatParameters(of: type)), payload.format.kind == kind
            else { continue }
            uses[type] = .media(payload)
            codecs.append(payload.format.codec)
        }
        guard !uses.isEmpty else { return .failure(Ignored(reason: .codecs(names))) }
        var feedback: RTPFeedback = []
        let told = uses.keys.flatMap { media.feedback(of: $0) }
        if told.contains("nack pli") { feedback.insert(.pli) }
        if told.contains("ccm fir") { feedback.insert(.fir) }
        return .success(
            RTSPSourceTrack(
                control: media.attributes.first("control") ?? "",
                line: RTPReceivedLine(kind: kind, payloadTypes: uses, feedback: feedback), codecs: codecs))
    }

    /// The payload types that need no `rtpmap`. Spec: RFC 3551 §6.
    private static func staticMap(_ type: UInt8) -> RTPMap? {
        switch type {
        case 0: RTPMap(payloadType: type, encoding: "PCMU", clockRate: 8_000)
        case 8: RTPMap(payloadType: type, encoding: "PCMA", clockRate: 8_000)
        case 14: RTPMap(payloadType: type, encoding: "MPA", clockRate: 90_000)
        default: nil
        }
    }

    private static func payload(_ map: RTPMap, _ parameters: FormatParameters?) -> RTPMediaPayload? {
        guard
            let format = RTPPayloadFormat(
                encodingName: map.encoding, clockRate: map.clockRate, channels: map.channels,
                formatParameters: parameters?.text ?? "")
        else { return nil }
        var payload = RTPMediaPayload(format: format, clockRate: map.clockRate, channels: map.channels)
        switch format {
        case .h264:
            payload.parameterSets = self.parameterSets(parameters, ["sprop-parameter-sets"])
        case .hevc:
            payload.parameterSets = self.parameterSets(parameters, ["sprop-vps", "sprop-sps", "sprop-pps"])
        case .aac:
            // Without it nothing can be decoded: it never comes in band.
            guard let header = self.hexadecimal(parameters?["config"] ?? ""),
                (try? AudioSpecificConfig(parsing: header)) != nil
            else { return nil }
            payload.codecHeader = header
        case .latm:
            guard let config = self.hexadecimal(parameters?["config"] ?? ""), let header = self.header(latm: config)
            else { return nil }
            payload.codecHeader = header
        case .opus:
            // RFC 7587 §7: `rtpmap` always says two; what is in the packets, `sprop-stereo` says.
            if parameters?["sprop-stereo"] == "0" { payload.channels = 1 }
        case .vp8, .vp9, .av1, .g711ALaw, .g711MuLaw, .mpegAudio: break
        }
        return payload
    }

    /// NAL units in Base64, separated by commas; what cannot be read is left out.
    private static func parameterSets(_ parameters: FormatParameters?, _ names: [String]) -> [ByteBuffer] {
        names.flatMap { name in
            (parameters?[name] ?? "").split(separator: ",").compactMap { text in
                let trimmed = text.split(separator: " ").joined()
                guard var bytes = Base64.decode(trimmed)?[...], !bytes.isEmpty else { return nil }
                // Cameras put start codes in front of them.
                if bytes.starts(with: [0, 0, 0, 1]) { bytes = bytes.dropFirst(4) }
                if bytes.starts(with: [0, 0, 1]) { bytes = bytes.dropFirst(3) }
                return bytes.isEmpty ? nil : ByteBuffer(bytes: bytes)
            }
        }
    }

    /// The AudioSpecificConfig inside of a StreamMuxConfig with one program and one layer, which begins at its 16th bit.
    /// Spec: ISO/IEC 14496-3 §1.7.3.1.
    private static func header(latm config: ByteBuffer) -> ByteBuffer? {
        let bytes = Array(config.readableBytesView)
        guard bytes.count >= 4, bytes[1] >> 1 == 0 else { return nil }
        var shifted = ByteBuffer()
        for index in 1..<bytes.count - 1 { shifted.writeInteger(bytes[index] << 7 | bytes[index + 1] >> 1) }
        var header = ByteBuffer()
        guard let parsed = try? AudioSpecificConfig(parsing: shifted), (try? parsed.write(into: &header)) != nil else {
            return nil
        }
        return header
    }

    private static func hexadecimal(_ text: String) -> ByteBuffer? {
        let digits = Array(text.utf8)
        guard !digits.isEmpty, digits.count % 2 == 0 else { return nil }
        var buffer = ByteBuffer()
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) else {
                return nil
            }
            buffer.writeInteger(byte)
        }
        return buffer
    }
}
