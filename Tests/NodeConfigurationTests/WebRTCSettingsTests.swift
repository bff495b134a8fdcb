import NIOCore
import Testing

@testable import NodeConfiguration

@Suite("Settings of WebRTC and audio")
struct WebRTCSettingsTests {
    @Test("a node has WebRTC over UDP and TCP on one port, and AAC for those who need it")
    func defaults() {
        let settings = NodeSettings(role: .edge)
        #expect(settings.rtc.udpListeners.map(\.description) == ["0.0.0.0:8000", "[::]:8000"])
        #expect(settings.rtc.tcpListeners == settings.rtc.udpListeners)
        #expect(settings.rtc.handshakeTimeout == .seconds(15) && settings.rtc.consentTimeout == .seconds(30))
        #expect(settings.rtc.maximumSessions == 10_000 && settings.rtc.segmentationOffload == .auto)
        #expect(settings.stream.rtc.nack && settings.stream.rtc.twcc && settings.stream.rtc.bFrames == .drop)
        #expect(settings.stream.audio.live == .aac && settings.stream.audio.packaged == .aac)
        #expect(settings.stream.audio.aacBitRate == 128_000 && settings.stream.audio.opusBitRate == 96_000)
    }

    @Test("every key is read from YAML and written back")
    func keys() throws {
        let settings = try load(
            """
            rtc:
              listen: ["[::]:9000", "192.0.2.7:9001"]
              tcp: { listen: ":443" }
              candidates: [media.example.com, "192.0.2.7:30000", "2001:db8::1", "[2001:db8::2]:30001"]
              interfaces: [eth0, br-lan.7]
              ice_servers: ["STUN:stun.example:3478", "turn:turn.example?transport=tcp", "turns:[2001:db8::3]:5349"]
              ice_username: "1700000000:client"
              ice_credential: "s3cret=="
              certificate: c.pem
              key: k.pem
              handshake_timeout: 5s
              consent_timeout: 1min
              maximum_sessions: 50
              gso: off
            stream:
              rtc: { nack: no, twcc: no, keyframe_interval: 0s, receive_wait: 120ms, b_frames: refuse, play_wait: 1s }
              rtc.maximum_bit_rate: 2.5Mbps
              rtc.playout_delay: 200ms
              audio: { live: source, packaged: aac, aac_bit_rate: 96kbps, opus_bit_rate: 64kbps }
            """)
        let rtc = settings.rtc
        #expect(rtc.listen.map(\.description) == ["[::]:9000", "192.0.2.7:9001"])
        #expect(rtc.tcpListeners.map(\.description) == ["0.0.0.0:443"])
        #expect(
            rtc.candidates == [
                AdvertisedHost(host: "media.example.com"), AdvertisedHost(host: "192.0.2.7", port: 30_000),
                AdvertisedHost(host: "2001:db8::1"), AdvertisedHost(host: "2001:db8::2", port: 30_001),
            ])
        #expect(
            rtc.iceServers == [
                "stun:stun.example:3478", "turn:turn.example?transport=tcp", "turns:[2001:db8::3]:5349",
            ])
        #expect(rtc.iceUsername == "1700000000:client" && rtc.iceCredential.value == "s3cret==")
        #expect(rtc.interfaces == ["eth0", "br-lan.7"] && rtc.segmentationOffload == .off && rtc.maximumSessions == 50)
        #expect(rtc.handshakeTimeout == .seconds(5) && rtc.consentTimeout == .minutes(1))
        let stream = settings.stream
        #expect(!stream.rtc.nack && !stream.rtc.twcc && stream.rtc.keyframeInterval == .zero)
        #expect(stream.rtc.receiveWait == .milliseconds(120) && stream.rtc.playWait == .seconds(1))
        #expect(stream.rtc.bFrames == .refuse && stream.rtc.maximumBitRate == 2_500_000)
        #expect(stream.rtc.playoutDelay == .milliseconds(200))
        #expect(stream.audio.live == .source && stream.audio.aacBitRate == 96_000 && stream.audio.opusBitRate == 64_000)
        let printed = ConfigurationPrinter.yaml(settings)
        #expect(!printed.contains("s3cret"))
        var again = try load(printed + "\n", assignments: ["rtc.ice_credential=s3cret=="])
        #expect(again.rtc == rtc)
        again.stream = stream
        #expect(again == settings)
    }

    @Test(
        "values of the wrong form are refused with what is expected",
        arguments: [
            ("rtc.candidates: 'a/b'", "HOST"), ("rtc.candidates: 'a:0'", "HOST"), ("rtc.candidates: ':8000'", "HOST"),
            ("rtc.interfaces: 'an interface'", "eth0"), ("rtc.interfaces: abcdefghijklmnop", "eth0"),
            ("rtc.ice_servers: stun.example", "stun:HOST"), ("rtc.ice_servers: 'stun://stun.example'", "HOST"),
            ("rtc.ice_servers: 'stun:a?transport=udp'", "transport"), ("rtc.ice_servers: 'http:a'", "stun:HOST"),
            ("rtc.ice_servers: 'turn:a?x=1'", "transport"), ("rtc.ice_servers: 'stun:'", "stun:HOST"),
            ("rtc.gso: on", "auto, off"), ("rtc.maximum_sessions: 0", "1 to"), ("rtc.consent_timeout: 1s", "5s"),
            ("stream.rtc.b_frames: keep", "drop, refuse"), ("stream.audio.live: opus", "source, aac"),
            ("stream.audio.opus_bit_rate: 1kbps", "6kbps"), ("stream.rtc.playout_delay: 41s", "40s"),
        ])
    func refused(yaml: String, expected: String) {
        let found = problems(yaml)
        #expect(found.count == 1 && found[0].contains(expected), "\(found)")
    }

    @Test(
        "what contradicts itself is refused with the keys that take part",
        arguments: [
            ("rtc.certificate: c.pem", ["rtc.certificate", "rtc.key"]),
            ("rtc.key: k.pem", ["rtc.key", "rtc.certificate"]),
            ("rtc.ice_username: a", ["rtc.ice_username", "rtc.ice_credential"]),
            ("rtc.ice_credential: a", ["rtc.ice_credential", "rtc.ice_username"]),
            ("rtc.ice_servers: 'turn:turn.example'", ["rtc.ice_servers", "rtc.ice_username"]),
            ("rtc.listen: []", ["rtc.listen", "rtc.enabled"]),
            ("rtc.listen: [':1', '127.0.0.1:1']", ["rtc.listen", "same port"]),
            ("http.listen: ':8000'", ["rtc.tcp.listen", "http.listen"]),
            ("rtc.tcp.listen: ':1935'", ["rtc.tcp.listen", "rtmp.listen"]),
        ])
    func contradictions(yaml: String, words: [String]) throws {
        let text = try #require(problems(yaml).first)
        for word in words { #expect(text.contains(word), "\(text)") }
    }

    @Test("ports of UDP are no ports of TCP, and what is off takes none")
    func allowed() {
        #expect(problems("{ rtc.listen: ':1935', rtc.tcp.enabled: false }").isEmpty)
        #expect(problems("{ http.listen: ':8000', rtc.enabled: false, rtc.listen: [] }").isEmpty)
        #expect(problems("{ http.listen: ':8000', rtc.tcp.listen: ':8001' }").isEmpty)
        #expect(problems("rtc.ice_servers: 'stun:stun.example'").isEmpty)
        #expect(problems("{ http.listen: '0.0.0.0:8000', rtc.tcp.listen: '[::]:8000' }").isEmpty)
        #expect(problems("{ http.listen: '[::]:8000', rtc.tcp.listen: '0.0.0.0:8000' }").count == 1)
        #expect(problems("rtc.listen: [':1', '[::]:1', '[::1]:2', '127.0.0.1:2']").isEmpty)
        #expect(problems("{ rtc.listen: ['[::1]:1', '[::]:1'], rtc.tcp.enabled: false }").count == 1)
    }

    @Test("an app has its own keys of WebRTC, and files that cannot be read are named")
    func apps() throws {
        let settings = try load("vhosts: [{ name: a, apps: { x: { rtc.b_frames: refuse, audio.live: source } } }]")
        #expect(settings.streamSettings(vhost: "a", app: "x").rtc.bFrames == .refuse)
        #expect(settings.streamSettings(vhost: "a", app: "y").rtc.bFrames == .drop)
        do throws(ConfigurationError) {
            _ = try ConfigurationLoader.load(
                role: .origin, file: .init(path: "f.yaml", text: "rtc: { certificate: c, key: k }"),
                isReadable: { _ in false })
            Issue.record("the files are not there")
        } catch {
            #expect(error.problems.map(\.key) == ["rtc.certificate", "rtc.key"])
        }
    }
}
