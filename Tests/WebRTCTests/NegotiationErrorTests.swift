import Media
import SDP
import Testing

@testable import WebRTC

struct NegotiationErrorTests {
    private static let audio = NegotiationError.Line(index: 0, kind: "audio", mid: "0")
    private static let video = NegotiationError.Line(index: 1, kind: "video", mid: "1")

    private func error(_ offer: String) -> NegotiationError? {
        do throws(NegotiationError) {
            _ = try Negotiator.answer(
                publishOffer: offer, capabilities: PublishCapabilities(), local: Ours.description())
            return nil
        } catch {
            return error
        }
    }

    private func changed(_ old: String, _ new: String, count: Int = .max) -> String {
        Offers.obsPublish.replacing(old, with: new, maxReplacements: count)
    }

    @Test("An offer that cannot be answered is refused with the section and the reason")
    func reasons() {
        #expect(self.error("") == .malformed(.empty))
        #expect(self.error("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n") == .noMediaDescriptions)
        #expect(self.error(self.changed("a=group:BUNDLE 0 1\r\n", "")) == .missingBundle)
        #expect(self.error(self.changed("BUNDLE 0 1", "BUNDLE 0")) == .notInBundle(Self.video))
        #expect(
            self.error(self.changed("a=mid:0\r\n", "")) == .missingMid(.init(index: 0, kind: "audio", mid: nil)))
        #expect(self.error(self.changed("a=rtcp-mux\r\n", "", count: 1)) == .missingRTCPMux(Self.audio))
        #expect(
            self.error(self.changed("UDP/TLS/RTP/SAVPF", "RTP/AVP", count: 1))
                == .unsupportedTransport(Self.audio, transport: "RTP/AVP"))
        #expect(self.error(self.changed("a=sendonly", "a=recvonly")) == .nothingSent)
        #expect(self.error(self.changed("a=sendonly", "a=inactive")) == .nothingSent)
        #expect(self.error(self.changed("SAVPF 111", "SAVPF 112", count: 1)) != nil)
        #expect(self.error(self.changed("a=ice-options", "a=ice-lite\r\na=ice-options")) == .peerIsLite)
        #expect(self.error(self.changed("a=ice-pwd", "a=x")) == .missingICECredentials(Self.audio))
        #expect(self.error(self.changed("a=ice-ufrag:Vd6K", "a=ice-ufrag:Vd")) == .invalidICECredentials(Self.audio))
        #expect(self.error(self.changed("a=fingerprint", "a=x")) == .missingFingerprint(Self.audio))
        #expect(
            self.error(self.changed("sha-256 8A", "md5 8A"))
                == .unsupportedFingerprint(Self.audio, hashes: ["md5"]))
        #expect(
            self.error(self.changed("sha-256 8A:", "sha-256 "))
                == .unsupportedFingerprint(Self.audio, hashes: ["sha-256"]))
        let digest = [String](repeating: "AB", count: 28).joined(separator: ":")
        #expect(
            self.error(self.changed("a=fingerprint:", "a=fingerprint:sha-224 \(digest)\r\na=x:"))
                == .unsupportedFingerprint(Self.audio, hashes: ["sha-224"]))
        #expect(
            self.error(self.changed("setup:actpass", "setup:holdconn"))
                == .unsupportedSetup(Self.audio, setup: "holdconn"))
    }

    @Test("Codecs and profiles that do not fit are named")
    func codecs() {
        #expect(
            self.error(self.changed("opus/48000/2", "speex/16000"))
                == .noCommonCodec(Self.audio, wanted: [.opus, .g711ALaw, .g711MuLaw], offered: ["SPEEX"]))
        #expect(
            self.error(self.changed("profile-level-id=42e01f;packetization-mode=1", "packetization-mode=2"))
                == .noCommonProfile(Self.video, .h264, offered: ["H264 packetization-mode=2"]))
        #expect(
            self.error(self.changed("42e01f", "58001f"))
                == .noCommonProfile(
                    Self.video, .h264, offered: ["H264 profile-level-id=58001f packetization-mode=1"]))
        #expect(throws: NegotiationError.nothingReceived(streamKinds: [.audio, .video])) {
            try Ours.play(Offers.chromiumPublish)
        }
        #expect(throws: NegotiationError.nothingReceived(streamKinds: [])) {
            try Ours.play(Offers.chromiumPlay, video: [], audio: [])
        }
        #expect(
            throws: NegotiationError.noCommonCodec(
                Self.video, wanted: [.hevc],
                offered: ["VP8", "VP9", "H264", "AV1", "RED", "ULPFEC", "FLEXFEC-03"])
        ) {
            try Ours.play(Offers.chromiumPlay, video: [.hevc(profile: 1, tier: 0, level: 93)])
        }
    }

    @Test("A section that is alone needs no group and no name")
    func single() throws {
        let video = Offers.obsPublish.split(separator: "m=video")
        let alone = video[0].replacing("a=group:BUNDLE 0 1\r\n", with: "").replacing("a=mid:0\r\n", with: "")
        let (answer, media) = try Ours.publish(String(alone))
        #expect(media.sections.count == 1 && media.audio?.mid == nil)
        #expect(answer.groups.isEmpty && answer.media.first?.mid == nil)
    }

    @Test("The second section of a kind is taken where the first does not fit")
    func secondSection() throws {
        let extra =
            "m=video 9 UDP/TLS/RTP/SAVPF 50\r\na=mid:2\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:50 X/90000\r\nm=video"
        let offer = self.changed("m=video", extra).replacing("BUNDLE 0 1", with: "BUNDLE 0 2 1")
        let (answer, media) = try Ours.publish(offer)
        #expect(answer.media.map(\.port) == [9, 0, 9] && media.video?.index == 2)
        #expect(answer.groups.first?.mids == ["0", "1"])
    }

    @Test("Static payload types need no rtpmap")
    func staticTypes() throws {
        let offer = self.changed("SAVPF 111", "SAVPF 8", count: 1).replacing("a=rtpmap:111 opus/48000/2\r\n", with: "")
        let (answer, media) = try Ours.publish(offer)
        #expect(media.audio?.format.codec == .g711ALaw && media.audio?.format.clockRate == 8000)
        #expect(answer.media.first?.rtpMaps.first?.value == "8 PCMA/8000")
    }

    @Test("Each reason is a sentence that names the section as people count")
    func descriptions() throws {
        let error = try #require(self.error(self.changed("a=rtcp-mux\r\n", "", count: 1)))
        #expect("\(error)" == "m-line 1 (audio, mid 0) has no a=rtcp-mux: RTP and RTCP must share a port")
        let codec = NegotiationError.noCommonCodec(Self.video, wanted: [.hevc], offered: ["VP8"])
        #expect("\(codec)" == "m-line 2 (video, mid 1): hevc needed, but the offer has VP8")
    }

    @Test("No offer that is cut or has lines left out traps or is answered with something unreadable")
    func damaged() throws {
        for (_, offer) in Offers.publishers + Offers.players {
            let lines = offer.split(separator: "\r\n")
            for index in stride(from: 0, to: lines.count, by: 3) {
                var fewer = lines
                fewer.remove(at: index)
                for text in [lines[..<index].joined(separator: "\n"), fewer.joined(separator: "\n")] {
                    if let result = try? Ours.publish(text) {
                        #expect(try SessionDescription(parsing: result.answer.text) == result.answer)
                    }
                    if let result = try? Ours.play(text) {
                        #expect(try SessionDescription(parsing: result.answer.text) == result.answer)
                    }
                }
            }
        }
    }

    @Test(
        "Profiles of H.264 are told apart",
        arguments: [
            ("42e01f", H264ProfileLevel.Profile.constrainedBaseline), ("42001f", .baseline), ("4d001f", .main),
            ("4d801f", .constrainedBaseline), ("58c01f", .constrainedBaseline), ("58801f", .baseline),
            ("64001f", .high),
            ("640c1f", .constrainedHigh), ("6e001f", .high10), ("7a001f", .high422), ("f4001f", .high444),
        ])
    func profiles(text: String, profile: H264ProfileLevel.Profile) throws {
        let parsed = try #require(H264ProfileLevel(parsing: text))
        #expect(parsed.profile == profile && parsed.text == text)
    }

    @Test("What is no profile-level-id is none", arguments: ["", "42e01", "42e01f0", "42e01g", "+2e01f", "-2e01f"])
    func badProfiles(text: String) {
        #expect(H264ProfileLevel(parsing: text) == nil)
    }
}
