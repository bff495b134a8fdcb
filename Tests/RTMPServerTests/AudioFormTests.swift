import AMF
import NIOCore
import RTMP
import StreamHub
import Streaming
import TestSupport
import Testing

@testable import RTMPServer

@Suite("Audio of RTMP players", .timeLimit(.minutes(1)))
struct AudioFormTests {
    /// What a player says in `connect` that knows these codecs.
    private static func knowing(_ fourCCs: [String]) -> [AMFProperty] {
        [
            AMFProperty("fourCcList", .strictArray(fourCCs.map { .string($0) })),
            AMFProperty("videoFourCcInfoMap", .object([])), AMFProperty("audioFourCcInfoMap", .object([])),
        ]
    }

    /// The form in which a player with these properties gets its audio.
    private static func form(
        _ properties: [AMFProperty], setting: AudioForm = .aac, clusterSecret: String? = nil
    ) async throws -> AudioForm? {
        var form: AudioForm?
        try await Fixture.run(clusterSecret: clusterSecret, audioForm: setting) { fixture in
            _ = try await fixture.publisher()
            let player = try await fixture.client(.play, properties: properties)
            try await eventually("the player is admitted") { player.isEstablished }
            try await eventually("it watches") { try await fixture.snapshot()?.renditions.isEmpty == false }
            form = try await fixture.snapshot()?.renditions.first?.id.audio
        }
        return form
    }

    @Test("a player that names no codec, or video only, gets AAC if the setting says so")
    func plainPlayers() async throws {
        #expect(try await Self.form(Self.knowing([])) == .aac)
        #expect(try await Self.form(Self.knowing(["av01", "hvc1", "vp09"])) == .aac)
        #expect(try await Self.form(Self.knowing([]), setting: .source) == .source)
    }

    @Test("a player that names Opus, or takes everything, gets what was published")
    func enhancedPlayers() async throws {
        #expect(try await Self.form(Self.knowing(["hvc1", "Opus"])) == .source)
        #expect(try await Self.form(Self.knowing(["*"])) == .source)
    }

    @Test("a node of the cluster gets what was published, and one that does not prove itself what players get")
    func nodes() async throws {
        let node = [AMFProperty("weirNode", "edge-1"), AMFProperty("weirEpoch", 0)] + Self.knowing([])
        #expect(try await Self.form(node) == .source)
        #expect(try await Self.form(node, clusterSecret: "secret") == .aac)
    }
}
