import NIOCore
import SRSConfig
import SRTAccess
import Testing

@testable import NodeConfiguration

@Suite("Settings of SRT")
struct SRTSettingsTests: OriginFileTests {
    @Test("All keys reach their members")
    func keys() throws {
        let settings = try self.load(
            """
            srt:
              enabled: true
              listen: [":9000", "[::]:9000"]
              default_app: tv
              default_stream_id: "#!::r=tv/one,m=publish"
              default_mode: publish
              maximum_sessions: 5
              threads: 2
              publish_first_media_timeout: 3s
              publish_idle_timeout: 4s
              passphrase: correct-horse
              key_length: aes256
              enforced_encryption: false
              latency: 300ms
              receive_latency: 400ms
              peer_latency: 500ms
              too_late_drop: false
              timestamps: false
              periodic_nak: false
              connect_timeout: 1s
              peer_idle_timeout: 7s
              mss: 1400
              payload_size: 1128
              maximum_bandwidth: 0
              input_bandwidth: 1000
              overhead_percent: 30
              send_buffer: 1MiB
              receive_buffer: 2MiB
              udp_send_buffer: 3MiB
              udp_receive_buffer: 4MiB
              flight_window: 10000
              reorder_tolerance: 5
              type_of_service: 0
              time_to_live: 9
              packet_filter: "fec,cols:10"
              pulls: ["live/camera=srt://192.0.2.7:9000?latency=300&passphrase=0123456789"]
            stream:
              srt:
                enabled: false
                passphrase: another-horse
                passphrases: ["door=third-horse", "gate=a=horse=with=signs"]
                latency: 1s
                passthrough: true
                program: 3
                audio: eng
                wait_for_keyframe: false
                push: ["srt://backup:10080?streamid=#!::r=[app]/[stream],m=publish"]
            """)
        let srt = settings.srt
        #expect(srt.listen.map(\.description) == ["0.0.0.0:9000", "[::]:9000"] && srt.isEnabled)
        #expect(
            srt.defaultApp == "tv" && srt.defaultStreamID == "#!::r=tv/one,m=publish" && srt.defaultMode == .publish)
        #expect(srt.maximumSessions == 5 && srt.threads == 2)
        #expect(srt.firstMediaTimeout == .seconds(3) && srt.idleTimeout == .seconds(4))
        #expect(srt.passphrase.value == "correct-horse" && srt.keyLength == .aes256 && srt.keyLength.bytes == 32)
        var options = SRTSettings.Options()
        options.enforcesEncryption = false
        options.latency = .milliseconds(300)
        options.receiveLatency = .milliseconds(400)
        options.peerLatency = .milliseconds(500)
        (options.tooLateDrop, options.timestamps, options.periodicNAK) = (false, false, false)
        (options.connectTimeout, options.peerIdleTimeout) = (.seconds(1), .seconds(7))
        (options.mss, options.payloadSize, options.maximumBandwidth) = (1_400, 1_128, 0)
        (options.inputBandwidth, options.overheadPercent, options.flightWindow) = (1_000, 30, 10_000)
        (options.sendBuffer, options.receiveBuffer) = (1 << 20, 2 << 20)
        (options.udpSendBuffer, options.udpReceiveBuffer) = (3 << 20, 4 << 20)
        (options.reorderTolerance, options.typeOfService, options.timeToLive) = (5, 0, 9)
        options.packetFilter = "fec,cols:10"
        #expect(srt.options == options)
        #expect(srt.pulls.map(\.stream.name) == ["camera"] && srt.pulls.map(\.url.port) == [9_000])
        #expect(srt.pulls.map(\.stream.mode) == [.publish])
        #expect(srt.pulls.map(\.description) == ["live/camera=srt://192.0.2.7:9000"])
        let stream = settings.stream.srt
        #expect(!stream.isEnabled && stream.passphrase.value == "another-horse" && stream.latency == .seconds(1))
        #expect(stream.passesThrough && stream.program == 3 && stream.audio == "eng" && !stream.waitsForKeyframe)
        #expect(stream.passphrase(of: "door").value == "third-horse")
        #expect(stream.passphrase(of: "gate").value == "a=horse=with=signs")
        #expect(stream.passphrase(of: "one").value == "another-horse")
        let url = stream.pushes.first?.url(vhost: "v", app: "live", stream: "one")
        #expect(url?.options[.streamID] == .text("#!::r=live/one,m=publish") && url?.host == "backup")
    }

    @Test(
        "A value that cannot be is refused, with what would do",
        arguments: [
            ("srt.passphrase: short", "10 to 79"), ("srt.default_stream_id: '#!::m=publish'", "stream id"),
            ("srt.pulls: ['srt://h:1']", "APP/STREAM=srt://"), ("srt.pulls: ['camera=srt://h:1']", "APP/STREAM=srt://"),
            ("srt.pulls: ['live/camera=srt://h']", "port"), ("srt.pulls: ['live/camera=srt://h:1?color=red']", "color"),
            ("stream.srt.passphrases: ['door']", "STREAM=PASSPHRASE"),
            ("stream.srt.passphrases: ['=0123456789']", "STREAM=PASSPHRASE"),
            ("stream.srt.passphrases: ['door=']", "10 to 79"), ("stream.srt.push: ['rtmp://h/a/b']", "srt://"),
            ("stream.srt.push: ['srt://h:1?mode=listener']", "listener"),
            ("stream.srt.audio: english", "eng"), ("srt.payload_size: 1457", "1456"),
        ])
    func refusals(yaml: String, hint: String) {
        let problems = self.problems(yaml)
        #expect(problems.count == 1 && problems.allSatisfy { $0.contains(hint) }, "\(problems)")
    }

    @Test(
        "What contradicts is told with both keys",
        arguments: [
            ("srt.listen: []", ["srt.listen", "srt.enabled"]),
            ("{ srt.listen: ':8000' }", ["srt.listen", "rtc.listen"]),
            ("srt.listen: [':9', '127.0.0.1:9']", ["srt.listen", "same port"]),
            ("{ srt.mss: 1000, srt.payload_size: 1316 }", ["srt.mss", "srt.payload_size"]),
            ("srt.flight_window: 100", ["srt.receive_buffer", "srt.flight_window"]),
        ] as [(String, [String])])
    func contradictions(yaml: String, words: [String]) {
        let problems = self.problems(yaml)
        #expect(problems.count == 1 && words.allSatisfy(problems[0].contains), "\(problems)")
    }

    @Test("What is off contradicts nothing, and IPv6 has its own ports")
    func harmless() {
        #expect(self.problems("{ srt.enabled: false, srt.listen: [] }").isEmpty)
        #expect(self.problems("srt.listen: [':9', '[::]:9']").isEmpty)
        #expect(self.problems("{ srt.listen: ':8000', rtc.enabled: false }").isEmpty)
    }

    @Test("SRS's directives become settings")
    func srs() throws {
        let text = """
            listen 1935;
            srt_server {
                enabled on; listen 10081; maxbw 1000000000; mss 1400; connect_timeout 4000; peer_idle_timeout 8000;
                sendbuf 2000000; recvbuf 2000000; latency 100; recvlatency 110; peerlatency 120; tsbpdmode off;
                tlpktdrop off; payloadsize 1316; passphrase correct-horse; pbkeylen 24; default_app tv; mix_correct on;
            }
            vhost __defaultVhost__ { srt { enabled on; srt_to_rtmp on; } }
            """
        let result = SRSImport(try SRSConfigParser.parse(text.utf8), path: "srs.conf", role: .origin)
        #expect(result.notes.filter { $0.kind == .noEqual }.isEmpty, "\(result.notes)")
        let settings = try self.load(result.yaml)
        let srt = settings.srt
        #expect(srt.isEnabled && srt.listen.map(\.port) == [10_081] && srt.defaultApp == "tv")
        #expect(srt.passphrase.value == "correct-horse" && srt.keyLength == .aes192)
        let options = srt.options
        #expect(options.latency == .milliseconds(100) && options.receiveLatency == .milliseconds(110))
        #expect(options.peerLatency == .milliseconds(120) && !options.timestamps && !options.tooLateDrop)
        #expect(options.maximumBandwidth == 1_000_000_000 && options.mss == 1_400)
        #expect(options.connectTimeout == .seconds(4) && options.peerIdleTimeout == .seconds(8))
        #expect(options.sendBuffer == 2_000_000 && settings.stream.srt.isEnabled)
    }

    @Test("Without srt_server SRS has none")
    func noSRS() throws {
        let result = SRSImport(try SRSConfigParser.parse("listen 1935;".utf8), path: "srs.conf", role: .origin)
        #expect(try !self.load(result.yaml).srt.isEnabled)
    }
}
