import Foundation
import Testing

extension ClusterTests {
    /// The page with the list and the player, in Chromium.
    @Suite struct PlayerPageTests {
        /// A frame made now is on the viewer's screen this much later, at most.
        private static let glassToGlassMillis = 1_500.0

        @Test(
            "the page lists the stream and plays it by Low-Latency HLS and HTTP-FLV, on a desk and on a phone",
            arguments: ["origin", "edge"])
        func plays(role: String) async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let node = role == "origin" ? origin : try await cluster.edge()
                _ = try ClockPublisher.start(sandbox, to: origin.rtmp("live/clock"))
                try await HLSTests.isPlayable(sandbox, node, "live/clock", segments: 1)
                let pages = try PageDriver.open(
                    sandbox,
                    [
                        .init(name: "\(role)-hls", url: node.http("#live/clock")),
                        .init(name: "\(role)-flv", url: node.http("#live/clock?mode=flv")),
                        .init(
                            name: "\(role)-phone", url: node.http(""), width: 390, height: 844, click: "live/clock"),
                    ])
                for name in ["hls", "flv", "phone"].map({ "\(role)-\($0)" }) {
                    let page = try await Self.isMoving(pages, name)
                    #expect(page.streams == ["live/clock"], "\(name)")
                    #expect(page.playsBy == (name.hasSuffix("flv") ? "HTTP-FLV" : "Low-Latency HLS"), "\(name)")
                    #expect(page.width == 320, "\(name)")
                    #expect(page.overflow <= 0, "\(name)")
                    #expect(page.errors == [], "\(name)")
                    #expect(page.foreign == [], "\(name)")
                }
                // A machine that has just begun with three players may need a moment to get to the edge.
                for name in ["\(role)-hls", "\(role)-phone"] {
                    let page = try await pages.page(name, "is close to the live edge") {
                        ($0.delay ?? .infinity) <= Self.glassToGlassMillis && ($0.latency ?? .infinity) <= 1.5
                    }
                    // What it tells is true, but for what passes before a frame is dated by the origin.
                    let told = try #require(page.latency) * 1_000
                    #expect(abs(try #require(page.delay) - told) < 1_000, "\(name)")
                }
            }
        }

        @Test("the page goes on by itself when the publisher returns, and when the origin was restarted")
        func recovers() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                var publisher = try ClockPublisher.start(sandbox, to: origin.rtmp("live/clock"))
                try await HLSTests.isPlayable(sandbox, edge, "live/clock", segments: 1)
                let names = ["edge-return-hls", "edge-return-flv"]
                let pages = try PageDriver.open(
                    sandbox,
                    [
                        .init(name: names[0], url: edge.http("#live/clock")),
                        .init(name: names[1], url: edge.http("#live/clock?mode=flv")),
                    ])
                for name in names { try await Self.isMoving(pages, name) }
                for isRestarted in [false, true] {
                    publisher.destroy()
                    if isRestarted { try await origin.restart() }
                    for name in names {
                        try await pages.page(name, "tells that nothing comes") { $0.state != "Playing" }
                    }
                    let returnedAt = ContinuousClock.now
                    publisher = try ClockPublisher.start(sandbox, to: origin.rtmp("live/clock"))
                    for name in names {
                        // What it shows was made after the return.
                        try await pages.page(name, "plays what is published now") {
                            let age = (ContinuousClock.now - returnedAt).seconds * 1_000
                            return $0.state == "Playing" && ($0.delay ?? .infinity) < min(2_500, age)
                        }
                    }
                }
                let looks = try pages.look()
                for name in names { #expect(looks[name]?.errors == [], "\(name)") }
            }
        }

        /// Frames are decoded, and two screenshots show different pictures.
        @discardableResult
        private static func isMoving(_ pages: PageDriver, _ name: String) async throws -> PageDriver.Page {
            let first = try await pages.page(name, "plays", within: .seconds(30)) {
                $0.state == "Playing" && $0.shot != nil
            }
            return try await pages.page(name, "moves") { page in
                guard let one = first.shot, let other = page.shot else { return false }
                return page.frames > first.frames && PageDriver.moves(one, other)
            }
        }
    }
}
