import Media
import RTP
import SDP
import Testing

@testable import WebRTC

struct NegotiationTests {
    @Test("Every known publisher gets an answer that fits its offer", arguments: Offers.publishers.map(\.name))
    func publishers(name: String) throws {
        let offer = try #require(Offers.publishers.first { $0.name == name }?.offer)
        let (answer, media) = try Ours.publish(offer)
        try self.check(answer, media, against: try SessionDescription(parsing: offer), direction: .receiveOnly)
        #expect(media.audio?.format.codec == (name == "Chromium's data" ? nil : .opus))
        #expect(media.video?.format.codec == (name == "GStreamer" ? .vp8 : .h264))
        #expect(media.isDTLSClient == (name == "FFmpeg"))
    }

    @Test("Every known player gets an answer that fits its offer", arguments: Offers.players.map(\.name))
    func players(name: String) throws {
        let offer = try #require(Offers.players.first { $0.name == name }?.offer)
        let (answer, media) = try Ours.play(offer)
        try self.check(answer, media, against: try SessionDescription(parsing: offer), direction: .sendOnly)
        #expect(media.sections.count == 2)
        #expect(media.video?.localSource?.ssrc == 1000 && media.audio?.localSource?.ssrc == 2000)
    }

    /// What RFC 9429 asks of any answer.
    private func check(
        _ answer: SessionDescription, _ media: NegotiatedMedia, against offer: SessionDescription,
        direction: MediaDirection
    ) throws {
        #expect(try SessionDescription(parsing: answer.text) == answer)
        #expect(answer.attributes.has("ice-lite"))
        #expect(answer.media.map(\.kind) == offer.media.map(\.kind))
        #expect(answer.media.map(\.transport) == offer.media.map(\.transport))
        #expect(answer.media.map(\.mid) == offer.media.map(\.mid))
        let used = media.sections.map(\.index)
        #expect(answer.groups.first?.mids.sorted() == media.sections.compactMap(\.mid).sorted())
        for (index, pair) in zip(answer.media, offer.media).enumerated() {
            let (own, theirs) = pair
            #expect((own.port != 0) == used.contains(index))
            #expect(Set(own.formats).isSubset(of: Set(theirs.formats)))
            guard own.port != 0 else { continue }
            #expect(answer.direction(of: own) == direction)
            #expect(own.attributes.first("setup") == (media.isDTLSClient ? "active" : "passive"))
            #expect(own.attributes.has("rtcp-mux") && own.attributes.has("end-of-candidates"))
            #expect(own.attributes.all("candidate").first?.contains(" udp ") == true)
            let offered = offer.inherited("extmap", by: theirs).compactMap { ExtensionMap(parsing: $0) }
            for map in own.extensionMaps {
                #expect(offered.contains { $0.id == map.id && $0.uri == map.uri })
            }
            for feedback in own.attributes.all("rtcp-fb") {
                #expect(theirs.attributes.all("rtcp-fb").contains(feedback))
            }
            #expect(own.rtpMaps.allSatisfy { theirs.rtpMaps.contains($0) })
        }
    }

    @Test("Chromium's H.264 is taken as Constrained Baseline with retransmission, feedback and extensions")
    func chromium() throws {
        let media = try Ours.publish(Offers.chromiumPublish).media
        let video = try #require(media.video)
        #expect(video.format.parameters["profile-level-id"] == "42e01f")
        #expect(video.format.parameters["packetization-mode"] == "1")
        #expect(video.format.retransmissionPayloadType == video.format.payloadType + 1)
        #expect(video.feedback == Set(NegotiatedFeedback.allCases))
        #expect(
            Set(video.extensions.keys) == [
                .mid, .rid, .repairedRID, .transportSequenceNumber, .absoluteSendTime,
            ])
        #expect(video.allowsMixedExtensionHeaders)
        let source = try #require(video.remoteSources.first)
        #expect(video.remoteSources.count == 1 && source.retransmissionSSRC != nil && source.cname != nil)
        let audio = try #require(media.audio)
        #expect(audio.format.channels == 2 && audio.format.payloadType == 111)
        #expect(audio.format.parameters.text == "minptime=10;useinbandfec=1;stereo=1")
        #expect(audio.feedback == [.transportFeedback])
        #expect(Set(audio.extensions.keys) == [.mid, .transportSequenceNumber])
        #expect(media.remoteCandidates.contains { $0.transport == .tcp && $0.tcpKind == .active })
        #expect(media.fingerprints.map(\.hash) == ["sha-256"])
    }

    @Test("The order of codecs is ours, or the offer's if so asked", arguments: [Codec.vp8, .vp9, .av1, .h264])
    func codecOrder(codec: Codec) throws {
        var capabilities = PublishCapabilities()
        capabilities.videoCodecs = [codec] + capabilities.videoCodecs.filter { $0 != codec }
        #expect(try Ours.publish(Offers.chromiumPublish, capabilities).media.video?.format.codec == codec)
        capabilities.prefersOfferOrder = true
        #expect(try Ours.publish(Offers.chromiumPublish, capabilities).media.video?.format.codec == .vp8)
        capabilities.videoCodecs = [codec]
        #expect(try Ours.publish(Offers.chromiumPublish, capabilities).media.video?.format.codec == codec)
    }

    @Test("Simulcast is answered by receiving each encoding, or not at all if it is not allowed")
    func simulcast() throws {
        let (answer, media) = try Ours.publish(Offers.chromiumSimulcast)
        #expect(media.video?.rids == ["h", "m", "l"])
        let section = try #require(answer.media.last)
        #expect(section.attributes.all("rid") == ["h recv", "m recv", "l recv"])
        #expect(section.attributes.all("simulcast") == ["recv h;m;l"])
        var capabilities = PublishCapabilities()
        capabilities.allowsSimulcast = false
        let without = try Ours.publish(Offers.chromiumSimulcast, capabilities)
        #expect(without.media.video?.rids == [] && !without.answer.text.contains("rid:"))
        #expect(without.media.video?.extensions[.rid] == nil)
    }

    @Test("The older form of simulcast gives its sources")
    func simulcastGroup() throws {
        let group =
            "a=ssrc-group:SIM 1 2\r\na=ssrc-group:FID 1 11\r\na=ssrc:1 cname:x\r\na=ssrc:11 cname:x\r\na=ssrc:2 a:b"
        let video = try Ours.publish(Offers.chromiumSimulcast.replacing("a=rid:h send", with: group)).media.video
        #expect(video?.simulcastSources == [1, 2])
        #expect(
            video?.remoteSources == [
                RemoteSource(ssrc: 1, retransmissionSSRC: 11, cname: "x"), RemoteSource(ssrc: 2),
            ])
    }

    @Test("Data channels are refused, and the rest of the bundle goes on")
    func dataChannel() throws {
        let (answer, media) = try Ours.publish(Offers.chromiumData)
        #expect(answer.media.map(\.port) == [9, 0])
        #expect(answer.media[1].formats == ["webrtc-datachannel"])
        #expect(answer.groups == [MediaGroup(semantics: "BUNDLE", mids: ["0"])])
        #expect(media.sections.count == 1 && media.sections.first?.mid == "0")
    }

    @Test("Firefox's fingerprint comes from the session, and extensions that go the other way are left out")
    func firefox() throws {
        let media = try Ours.publish(Offers.firefoxPublish).media
        #expect(media.fingerprints.count == 1)
        #expect(media.video?.format.payloadType == 126 && media.video?.format.retransmissionPayloadType == 127)
        #expect(media.audio?.format.parameters.text == "useinbandfec=1;stereo=1")
        #expect(try Ours.play(Offers.firefoxPlay).media.video?.extensions[.playoutDelay] == 6)
        let sending = Offers.firefoxPlay.replacing("extmap:6/recvonly", with: "extmap:6/sendonly")
        #expect(try Ours.play(sending).media.video?.extensions[.playoutDelay] == nil)
    }

    @Test("Transport attributes count for all when they stand for the session only")
    func obs() throws {
        let (answer, media) = try Ours.publish(Offers.obsPublish)
        #expect(media.remoteICE == ICECredentials(ufrag: "Vd6K", password: "rT5pX8wLq2nYc0ZbH3mEvU"))
        #expect(media.video?.format.retransmissionPayloadType == nil && media.video?.extensions == [:])
        #expect(media.video?.feedback == [.nack, .pictureLoss, .remb])
        #expect(answer.media.map(\.formats) == [["111"], ["96"]])
    }

    @Test("Safari's HEVC is played and published; its hidden addresses are kept as they are")
    func safari() throws {
        let offer = Offers.safariPublish
        var capabilities = PublishCapabilities()
        capabilities.videoCodecs = [.hevc]
        let published = try Ours.publish(offer, capabilities).media
        #expect(published.video?.format.codec == .hevc && published.video?.format.payloadType == 100)
        #expect(published.video?.format.parameters["tx-mode"] == "SRST")
        #expect(published.remoteCandidates.first?.isHidden == true)
        let played = try Ours.play(Offers.safariPlay, video: [.hevc(profile: 1, tier: 0, level: 120)]).media
        #expect(played.video?.format.payloadType == 100)
        // Main 10 is more than the offer says.
        #expect(throws: NegotiationError.self) {
            try Ours.play(Offers.safariPlay, video: [.hevc(profile: 2, tier: 0, level: 93)])
        }
        let main10 = Offers.safariPlay.replacing("profile-id=1;", with: "profile-id=2;")
        #expect(try Ours.play(main10, video: [.hevc(profile: 1, tier: 0, level: 93)]).media.video != nil)
        let layered = Offers.safariPlay.replacing("tx-mode=SRST", with: "tx-mode=MRST")
        #expect(throws: NegotiationError.self) {
            try Ours.play(layered, video: [.hevc(profile: 1, tier: 0, level: 93)])
        }
    }

    @Test("A player gets the stream's profile where it is offered, else the nearest usable one")
    func playProfiles() throws {
        func chosen(_ stream: String, _ offer: String = Offers.chromiumPlay) throws -> String? {
            let level = try #require(H264ProfileLevel(parsing: stream))
            return try Ours.play(offer, video: [.h264(level)]).media.video?.format.parameters["profile-level-id"]
        }
        #expect(try chosen("42e01f") == "42e01f" && chosen("42c028") == "42e01f")
        #expect(try chosen("42001f") == "42001f" && chosen("4d0028") == "4d001f")
        // High and nothing of the kind: Main is nearest.
        #expect(try chosen("640028") == "4d001f")
        #expect(try chosen("f40028") == "f4001f")
        #expect(try chosen("640028", Offers.safariPlay) == "640c1f")
        #expect(throws: NegotiationError.self) { try chosen("6e0028", Offers.safariPlay) }
        #expect(try chosen("4d0028", Offers.gstreamerPlay) == "42e01f")
    }

    @Test("VP9 is chosen by its profile, AV1 by one that can do the stream's")
    func otherProfiles() throws {
        for profile in 0...3 {
            let format = try Ours.play(Offers.chromiumPlay, video: [.vp9(profile: profile)]).media.video?.format
            #expect(format?.parameters["profile-id"] == "\(profile)")
        }
        for profile in 0...1 {
            let video = PlayVideo.av1(profile: profile, level: 8, tier: 0)
            let format = try Ours.play(Offers.chromiumPlay, video: [video]).media.video?.format
            #expect(format?.parameters["profile"] == "\(profile)")
        }
        #expect(throws: NegotiationError.self) {
            try Ours.play(Offers.chromiumPlay, video: [.av1(profile: 2, level: 8, tier: 0)])
        }
    }

    @Test("The first alternative that the player takes is played")
    func alternatives() throws {
        let video: [PlayVideo] = [.hevc(profile: 1, tier: 0, level: 93), .vp8, .h264(.constrainedBaseline)]
        let audio = [PlayAudio(codec: .g711MuLaw, channels: 1), PlayAudio(codec: .opus, channels: 2)]
        let media = try Ours.play(Offers.chromiumPlay, video: video, audio: audio).media
        #expect(media.video?.format.codec == .vp8)
        #expect(media.audio?.format.codec == .g711MuLaw && media.audio?.format.payloadType == 0)
    }

    @Test("A player's answer names what we send")
    func playAnswer() throws {
        let (answer, media) = try Ours.play(Offers.chromiumPlay)
        let video = try #require(answer.media.first { $0.kind == "video" })
        #expect(video.attributes.first("msid") == "live live-video")
        #expect(video.sourceGroups == [SourceGroup(semantics: "FID", ssrcs: [1000, 1001])])
        #expect(video.sources.count == 4 && video.sources.first?.attribute == SDPAttribute("cname", "name"))
        #expect(
            Set(media.video.map { Array($0.extensions.keys) } ?? []) == [
                .mid, .transportSequenceNumber, .absoluteSendTime, .playoutDelay,
            ])
        let audio = try #require(media.audio)
        #expect(audio.format.parameters["sprop-stereo"] == "1" && audio.localSource?.retransmissionSSRC == nil)
        #expect(audio.format.retransmissionPayloadType == nil)
        let mono = try Ours.play(Offers.chromiumPlay, audio: [PlayAudio(codec: .opus, channels: 1)]).media
        #expect(mono.audio?.format.parameters["stereo"] == nil)
    }

    @Test("A kind that the stream lacks is refused in the answer, a kind that the offer lacks is not missed")
    func missingKinds() throws {
        let dark = try Ours.play(Offers.chromiumPlay, video: [])
        #expect(dark.answer.media.map(\.port) == [9, 0])
        #expect(dark.answer.groups.first?.mids == ["0"])
        #expect(dark.media.video == nil && dark.media.audio?.mid == "0")
        let audioOnly = Offers.chromiumPlay.replacing(#/m=video \d+/#, with: "m=video 0")
        #expect(try Ours.play(audioOnly).media.video == nil)
    }

    @Test("A missing kind that carries the bundle's transport is kept without media")
    func missingFirstKind() throws {
        let (answer, media) = try Ours.play(Offers.chromiumPlay, audio: [])
        #expect(answer.media.map(\.port) == [9, 9])
        #expect(answer.groups.first?.mids == ["0", "1"])
        #expect(media.audio == nil && media.video?.mid == "1" && media.sections.count == 1)
        let idle = answer.media[0]
        #expect(answer.direction(of: idle) == .inactive)
        for name in ["rtcp-mux", "ice-ufrag", "ice-pwd", "fingerprint", "setup"] {
            #expect(idle.attributes.has(name), "\(name)")
        }
        #expect(idle.rtpMaps.map(\.encoding) == ["opus"] && idle.formats == idle.rtpMaps.map { "\($0.payloadType)" })
        #expect(!idle.attributes.has("ssrc") && !idle.attributes.has("msid"))
        #expect(try SessionDescription(parsing: answer.text) == answer)
        // Not one that the offer itself has given up.
        let given = Offers.chromiumPlay.replacing(#/m=audio \d+/#, with: "m=audio 0")
        #expect(try Ours.play(given, audio: []).answer.media.map(\.port) == [0, 9])
    }

    @Test("Features that are switched off are not negotiated")
    func features() throws {
        var capabilities = PublishCapabilities()
        capabilities.features.nack = false
        capabilities.features.retransmission = false
        capabilities.features.transportFeedback = false
        capabilities.features.remb = false
        capabilities.allowsStereo = false
        let media = try Ours.publish(Offers.chromiumPublish, capabilities).media
        #expect(media.video?.feedback == [.pictureLoss, .fullIntraRequest])
        #expect(media.video?.format.retransmissionPayloadType == nil)
        #expect(Set(media.video.map { Array($0.extensions.keys) } ?? []) == [.mid, .rid, .repairedRID])
        #expect(media.audio?.format.parameters["stereo"] == nil)
    }

    @Test("Who begins DTLS follows the offer, and our wish where it leaves the choice")
    func setup() throws {
        func isClient(_ setup: String, wish: DTLSSetup) throws -> Bool {
            let offer = Offers.obsPublish.replacing("a=setup:actpass\r\n", with: setup)
            return try Negotiator.answer(
                publishOffer: offer, capabilities: PublishCapabilities(), local: Ours.description(setup: wish)
            ).media.isDTLSClient
        }
        for wish in [DTLSSetup.active, .passive] {
            #expect(try isClient("a=setup:actpass\r\n", wish: wish) == (wish == .active))
            #expect(try isClient("a=setup:passive\r\n", wish: wish))
            #expect(try !isClient("a=setup:active\r\n", wish: wish))
            #expect(try !isClient("", wish: wish))
        }
        #expect(throws: NegotiationError.self) { try isClient("a=setup:holdconn\r\n", wish: .passive) }
    }

    @Test("Numbers of extensions beyond one-byte headers are taken only from peers that mix headers")
    func extensionNumbers() throws {
        let high = Offers.safariPublish.replacing("a=extmap:3 ", with: "a=extmap:20 ")
        #expect(try Ours.publish(high).media.video?.extensions[.mid] == 20)
        let plain = high.replacing("a=extmap-allow-mixed\r\n", with: "")
        #expect(try Ours.publish(plain).media.video?.extensions[.mid] == nil)
        let reserved = Offers.safariPublish.replacing("a=extmap:3 ", with: "a=extmap:15 ")
        #expect(try Ours.publish(reserved).media.video?.extensions[.mid] == nil)
        let beyondPackets = Offers.safariPublish.replacing("a=extmap:3 ", with: "a=extmap:4100 ")
        #expect(try Ours.publish(beyondPackets).media.video?.extensions[.mid] == nil)
        let clash = Offers.safariPublish.replacing("a=extmap:3 ", with: "a=extmap:2 ")
        #expect(try Ours.publish(clash).media.video?.extensions[.mid] == nil)
    }
}
