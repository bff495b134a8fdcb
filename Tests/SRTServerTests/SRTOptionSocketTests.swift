import Logging
import SRTAccess
import Testing

@testable import SRTServer

@Suite("Options of SRT sockets", .serialized)
struct SRTOptionSocketTests {
    /// A value of each option that is not the library's own.
    private static func value(of option: SRTOption) -> SRTOptionValue {
        switch option {
        case .mss: .integer(1_400)
        case .flightFlag: .integer(20_000)
        // Whole packets: the library counts in them.
        case .sendBuffer: .integer(1_000 * 1_472)
        case .receiveBuffer: .integer(2_000 * 1_472)
        case .udpSendBuffer: .integer(100_000)
        case .udpReceiveBuffer: .integer(200_000)
        case .reuseAddress, .timestampBasedDelivery, .tooLateDrop, .periodicNAK, .driftTracer, .enforcedEncryption:
            .flag(false)
        case .ipTimeToLive: .integer(17)
        case .ipTypeOfService: .integer(0x20)
        case .bindToDevice: .text("lo")
        case .ipv6Only: .integer(1)
        case .maximumBandwidth: .integer(5_000_000_000)
        case .inputBandwidth: .integer(6_000_000)
        case .minimumInputBandwidth: .integer(7_000_000)
        case .overheadBandwidth: .integer(33)
        case .latency: .integer(333)
        case .receiveLatency: .integer(444)
        case .peerLatency: .integer(555)
        case .sendDropDelay: .integer(77)
        case .connectTimeout: .integer(4_321)
        case .peerIdleTimeout: .integer(8_765)
        case .maximumReorder: .integer(12)
        case .minimumVersion: .integer(0x01_04_00)
        case .streamID: .text("#!::r=a/b")
        case .congestion: .text("live")
        case .payloadSize: .integer(752)
        case .passphrase: .text("0123456789")
        case .keyLength: .integer(24)
        case .keyRefreshRate: .integer(10_000)
        case .keyPreannounce: .integer(1_000)
        case .packetFilter: .text("fec,cols:10,rows:5")
        case .retransmitAlgorithm: .integer(0)
        }
    }

    @Test("Each option reaches the socket", arguments: SRTOption.allCases)
    func options(option: SRTOption) throws {
        let wanted = Self.value(of: option)
        var options = SRTOptions()
        // The library takes no more packets on the way than it can keep.
        if option == .receiveBuffer { try options.set(.flightFlag, to: .integer(4_000)) }
        try options.set(option, to: wanted)
        try SRTLibrary.start(logger: Logger(label: "test"))
        let socket = try SRTSocket.make(options)
        defer { socket.close() }
        // A passphrase is told nobody: another test connects with it. The filter is completed by its defaults.
        switch option {
        case .passphrase: #expect(throws: SRTError.self) { try socket.value(of: option) }
        case .packetFilter:
            guard case .text(let text) = try socket.value(of: option) else {
                Issue.record("no text")
                return
            }
            #expect(text.hasPrefix("fec") && text.contains("cols:10") && text.contains("rows:5"))
        default: #expect(try socket.value(of: option) == wanted)
        }
    }

    @Test("The options of a listener hold for those that it accepts, and those of a stream for its peers")
    func accepted() async throws {
        try await Bench.with { configuration in
            try configuration.options.set(.latency, to: .integer(200))
            try configuration.options.set(.sendBuffer, to: .integer(500 * 1_472))
            try configuration.options.set(.peerIdleTimeout, to: .integer(7_000))
            configuration.settings = { _, app, _ in
                var settings = SRTStreamSettings()
                if app == "slow" { try? settings.options.set(.latency, to: .integer(700)) }
                return settings
            }
        } _: { bench in
            let plain = try await bench.connect("live/one")
            let slow = try await bench.connect("slow/one")
            #expect(try plain.value(of: .receiveLatency) == .integer(200))
            #expect(try slow.value(of: .receiveLatency) == .integer(700))
            #expect(try slow.value(of: .peerLatency) == .integer(700))
        }
    }

    @Test("An option that comes too late is an error, and does not trap")
    func late() async throws {
        try await Bench.with { bench in
            let socket = try await bench.connect("live/one")
            #expect(throws: SRTError.self) { try socket.set(.mss, to: .integer(1_400)) }
            socket.close()
            #expect(throws: SRTError.self) { try socket.set(.overheadBandwidth, to: .integer(30)) }
            #expect(throws: SRTError.self) { _ = try socket.value(of: .mss) }
        }
    }
}
