import Logging
import MPEGTS
import NIOCore
import NodeConfiguration
import SRTAccess
import SRTServer
import StreamHub
import Testing

@testable import NodeRuntime

/// From keys of the configuration to options of sockets.
@Suite("Settings of SRT on their way to sockets")
struct SRTMappingTests {
    private static func configuration(_ yaml: String) throws -> SRTServerConfiguration {
        let load: @Sendable () throws(ConfigurationError) -> NodeSettings = { () throws(ConfigurationError) in
            try ConfigurationLoader.load(role: .origin, file: .init(path: "f.yaml", text: yaml), hostName: "host")
        }
        let live = LiveSettings(try load(), load: load)
        return try #require(
            NodeParts.srt(
                live, claims: StreamClaims(link: nil, logger: Logger(label: "test")), registry: SessionRegistry()))
    }

    /// Each key of `srt` that is an option of the library, with a value that is not the default.
    private static let rows: [(key: String, value: String, option: SRTOption, expected: SRTOptionValue)] = [
        ("passphrase", "correct-horse", .passphrase, .text("correct-horse")),
        ("key_length", "aes192", .keyLength, .integer(24)),
        ("enforced_encryption", "false", .enforcedEncryption, .flag(false)),
        ("receive_latency", "401ms", .receiveLatency, .integer(401)),
        ("peer_latency", "502ms", .peerLatency, .integer(502)),
        ("too_late_drop", "false", .tooLateDrop, .flag(false)),
        ("timestamps", "false", .timestampBasedDelivery, .flag(false)),
        ("connect_timeout", "1s", .connectTimeout, .integer(1_000)),
        ("peer_idle_timeout", "7s", .peerIdleTimeout, .integer(7_000)),
        ("mss", "1400", .mss, .integer(1_400)),
        ("payload_size", "1128", .payloadSize, .integer(1_128)),
        ("maximum_bandwidth", "2000000", .maximumBandwidth, .integer(2_000_000)),
        ("input_bandwidth", "1000", .inputBandwidth, .integer(1_000)),
        ("overhead_percent", "31", .overheadBandwidth, .integer(31)),
        ("send_buffer", "1MiB", .sendBuffer, .integer(1 << 20)),
        ("receive_buffer", "2MiB", .receiveBuffer, .integer(2 << 20)),
        ("udp_send_buffer", "3MiB", .udpSendBuffer, .integer(3 << 20)),
        ("udp_receive_buffer", "4MiB", .udpReceiveBuffer, .integer(4 << 20)),
        ("flight_window", "10000", .flightFlag, .integer(10_000)),
        ("periodic_nak", "false", .periodicNAK, .flag(false)),
        ("reorder_tolerance", "5", .maximumReorder, .integer(5)),
        ("type_of_service", "8", .ipTypeOfService, .integer(8)),
        ("time_to_live", "9", .ipTimeToLive, .integer(9)),
        ("packet_filter", "\"fec,cols:10\"", .packetFilter, .text("fec,cols:10")),
    ]
    /// Keys of the section that are no options of the library, and the latency, which is two of them.
    private static let others: Set<String> = [
        "enabled", "listen", "default_app", "default_stream_id", "default_mode", "maximum_sessions", "threads",
        "publish_first_media_timeout", "publish_idle_timeout", "pulls", "latency",
    ]

    @Test("each key reaches its option, and no other one")
    func options() throws {
        let plain = try Self.configuration("srt: { enabled: true }").options
        for row in Self.rows {
            let options = try Self.configuration("srt: { \(row.key): \(row.value) }").options
            #expect(options[row.option] == row.expected, "\(row.key)")
            for other in SRTOption.allCases where other != row.option {
                #expect(options[other] == plain[other], "\(row.key) changes \(other)")
            }
        }
    }

    @Test("the table names every key of the section")
    func isComplete() throws {
        let text = ConfigurationReference.markdown()
        let keys = Set(
            text.split(whereSeparator: { !$0.isLetter && !$0.isNumber && $0 != "_" && $0 != "." })
                .filter { $0.hasPrefix("srt.") && $0.split(separator: ".").count == 2 }.map { String($0.dropFirst(4)) })
        #expect(keys.subtracting(Self.others) == Set(Self.rows.map(\.key)))
    }

    @Test("the latency is that of both directions, unless one has its own")
    func latency() throws {
        let both = try Self.configuration("srt: { latency: 333ms }").options
        #expect(both[.receiveLatency] == .integer(333) && both[.peerLatency] == .integer(333))
        let one = try Self.configuration("srt: { latency: 333ms, peer_latency: 1s }").options
        #expect(one[.receiveLatency] == .integer(333) && one[.peerLatency] == .integer(1_000))
    }

    @Test("a stream's own settings reach its sessions, by app and vhost")
    func streams() throws {
        let configuration = try Self.configuration(
            """
            srt: { payload_size: 1128 }
            vhosts:
              - name: tv
                domains: [tv.example]
                apps:
                  door:
                    srt: { passphrase: another-horse, latency: 1s, passthrough: true, program: 3, audio: eng,
                           wait_for_keyframe: false }
            """)
        let plain = configuration.settings(nil, "live", "x")
        #expect(plain.options[.passphrase] == nil && plain.options[.receiveLatency] == nil && !plain.passesThrough)
        #expect(plain.options[.payloadSize] == .integer(1_128) && plain.waitsForKeyframeAfterLoss)
        let door = configuration.settings("tv.example", "door", "x")
        #expect(door.options[.passphrase] == .text("another-horse"))
        #expect(door.options[.receiveLatency] == .integer(1_000) && door.options[.peerLatency] == .integer(1_000))
        #expect(door.passesThrough && !door.waitsForKeyframeAfterLoss)
        #expect(door.demuxer.programNumber == 3 && door.demuxer.audio == .language("eng"))
    }
}
