import DigestAuthentication
package import Media
import NIOCore
package import RTP
import SDP
package import Streaming

/// A track as players are told of it, and as its packets are made.
///
/// Two tracks that are equal are one to a player: it goes on without being told. So parameter sets, which are repeated in
/// band, are not part of it.
package struct RTSPTrack: Sendable, Hashable {
    package var codec: Codec
    package var payloadType: UInt8
    package var format: RTPPayloadFormat
    package var clockRate: Int
    /// Of audio; 1 for video.
    package var channels: Int
    /// Samples of a frame of AAC.
    package var samplesPerFrame: Int?
    /// AAC's AudioSpecificConfig.
    package var codecHeader: [UInt8]

    package var kind: MediaKind { self.codec.kind }

    /// `nil` for a codec that RTP cannot carry here, and for a codec header that cannot be read.
    package init?(_ track: Track) {
        self.codec = track.codec
        self.payloadType = track.kind == .video ? 96 : 97
        self.channels = 1
        self.clockRate = 90_000
        self.codecHeader = []
        var sampleRate = 48_000
        if case .audio(let format) = track.format {
            self.channels = format.channels ?? 1
            sampleRate = format.sampleRate ?? sampleRate
            self.samplesPerFrame = format.samplesPerFrame
            switch track.codec {
            case .aac:
                guard let header = track.configuration, sampleRate > 0 else { return nil }
                self.codecHeader = Array(header.readableBytesView)
                self.clockRate = sampleRate
            case .opus: self.clockRate = 48_000
            case .g711ALaw, .g711MuLaw:
                self.clockRate = max(sampleRate, 8_000)
                // The static types stand for 8 kHz and one channel. Spec: RFC 3551 §6.
                if self.clockRate == 8_000, self.channels == 1 {
                    self.payloadType = track.codec == .g711MuLaw ? 0 : 8
                }
            case .mp3: (self.clockRate, self.payloadType) = (90_000, 14)
            default: return nil
            }
        }
        guard
            let format = RTPPayloadFormat(codec: track.codec, clockRate: self.clockRate, channels: self.channels)
        else { return nil }
        self.format = format
    }
}

/// What of a stream players can get, in the order of the session description.
package struct RTSPTracks: Sendable, Hashable {
    package var video: RTSPTrack?
    package var audio: RTSPTrack?

    /// Tracks that cannot be carried are left out.
    package init(_ state: StreamState) {
        self.video = state.video.flatMap { RTSPTrack($0) }
        self.audio = state.audio.flatMap { RTSPTrack($0) }
    }

    package var all: [RTSPTrack] { [self.video, self.audio].compactMap { $0 } }
    package var isEmpty: Bool { self.video == nil && self.audio == nil }

    /// Whether there is nothing here that `other` has not got.
    package func isPart(of other: RTSPTracks) -> Bool {
        (self.video == nil || self.video == other.video) && (self.audio == nil || self.audio == other.audio)
    }

    package subscript(kind: MediaKind) -> RTSPTrack? { kind == .video ? self.video : self.audio }

    /// The control of the track at an index.
    package static func control(_ index: Int) -> String { "trackID=\(index)" }

    /// The session description for players.
    ///
    /// - Parameters:
    ///   - state: what the tracks were made of; gives the parameter sets.
    ///   - sessionID: digits.
    ///   - address: the server's own, numeric.
    package func description(of state: StreamState, name: String, sessionID: UInt64, address: String) -> String {
        let type = address.contains(":") ? "IP6" : "IP4"
        var description = SessionDescription(
            origin: .init(sessionID: "\(sessionID)", addressType: type, address: address), name: name,
            lines: [SDPLine("c", "IN \(type) \(type == "IP6" ? "::" : "0.0.0.0")"), SDPLine("t", "0 0")],
            attributes: [SDPAttribute("control", "*"), SDPAttribute("range", "npt=now-")])
        for (index, track) in self.all.enumerated() {
            var attributes = [SDPAttribute("rtpmap", track.map.value)]
            let parameters = track.parameters(state.track(of: track.kind))
            if !parameters.isEmpty { attributes.append(SDPAttribute("fmtp", "\(track.payloadType) \(parameters)")) }
            attributes.append(SDPAttribute("control", Self.control(index)))
            description.media.append(
                MediaDescription(
                    kind: track.kind.rawValue, port: 0, transport: "RTP/AVP", formats: ["\(track.payloadType)"],
                    attributes: attributes))
        }
        return description.text
    }
}

extension RTSPTrack {
    fileprivate var map: RTPMap {
        // RFC 7587 §7: always two channels, whatever is in the packets.
        RTPMap(
            payloadType: self.payloadType, encoding: self.format.encodingName, clockRate: self.clockRate,
            channels: self.codec == .opus ? 2 : self.codec == .mp3 ? 1 : self.channels)
    }

    fileprivate func parameters(_ track: Track?) -> String {
        switch self.format {
        case .h264(let mode): return Self.h264(track, mode: mode)
        case .hevc: return Self.hevc(track)
        case .aac(let layout):
            // RFC 3640 §4.1. Level 1 stands for any; the configuration tells.
            return "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=\(layout.sizeLength);"
                + "indexlength=\(layout.indexLength);indexdeltalength=\(layout.indexDeltaLength);"
                + "config=\(Self.hexadecimal(self.codecHeader))"
        case .opus: return self.channels == 1 ? "sprop-stereo=0" : "sprop-stereo=1"
        case .vp8, .vp9, .av1, .g711ALaw, .g711MuLaw, .latm, .mpegAudio: return ""
        }
    }

    /// Spec: RFC 6184 §8.1.
    private static func h264(_ track: Track?, mode: Int) -> String {
        var text = "packetization-mode=\(mode)"
        guard let record = track?.configuration, let avc = try? AVCDecoderConfiguration(parsing: record) else {
            return text
        }
        text += ";profile-level-id="
        text += Self.hexadecimal([avc.profileIndication, avc.profileCompatibility, avc.levelIndication]).uppercased()
        let sets = avc.sequenceParameterSets + avc.pictureParameterSets
        if !sets.isEmpty { text += ";sprop-parameter-sets=" + Self.base64(sets) }
        return text
    }

    /// Spec: RFC 7798 §7.1.
    private static func hevc(_ track: Track?) -> String {
        guard let record = track?.configuration, let hevc = try? HEVCDecoderConfiguration(parsing: record) else {
            return ""
        }
        return [("sprop-vps", UInt8(32)), ("sprop-sps", 33), ("sprop-pps", 34)].compactMap { name, type in
            let units = hevc.units(ofType: type)
            return units.isEmpty ? nil : "\(name)=\(Self.base64(units))"
        }.joined(separator: ";")
    }

    private static func base64(_ units: [ByteBuffer]) -> String {
        units.map { Base64.encode(Array($0.readableBytesView)) }.joined(separator: ",")
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
