import Foundation
import Testing

extension ClusterTests {
    /// The console of the coordinator, in Chromium.
    @Suite struct ConsoleTests {
        /// What a client may write, and a careless page would run.
        private static let hostile = #"<img src=x onerror="window.pwned=1">"#
        /// The same of a publisher: names of streams have no spaces and no quotes.
        private static let hostileStream = "<svg/onload=window.pwned=1>"
        private static let adminToken = "token-of-the-console-tests"

        @Test("an operator signs in, sees the cluster live, plays, records, kicks, drains and manages access")
        func walks() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(
                    sandbox, coordinator: ["coordinator.admin_token": Self.adminToken])
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                _ = try ClockPublisher.start(sandbox, to: origin.rtmp("live/clock"))
                try await HLSTests.isPlayable(sandbox, edge, "live/clock", segments: 1)
                try Self.watch(sandbox, edge.flv("live/clock"))
                _ = try SRTClients.record(
                    sandbox, SRTClients.url(edge.srtPort, "%23%21::r=live/clock"), to: "viewer.ts")
                _ = try Media.publish(
                    sandbox, try await Media.makeSource(sandbox, seconds: 4), to: origin.rtmp("live"), loops: true,
                    name: "hostile", options: ["-rtmp_app", "live", "-rtmp_playpath", Self.hostileStream])
                let report = try await ConsoleDriver.run(
                    sandbox,
                    .init(
                        url: cluster.coordinator.apiURL("/"), token: Self.adminToken, app: "live", stream: "clock",
                        origin: origin.name, edge: edge.name, hostile: Self.hostile,
                        hostileStream: Self.hostileStream,
                        media: [origin.http(""), edge.http("")]))
                #expect(report.failures == [])
                #expect(report.errors == [])
                #expect(report.violations == [])
                #expect(report.foreign == [])
                #expect(report.faint == [])
            }
        }

        /// Viewers of HTTP-FLV that come back when they are kicked; one says of itself what no page should run.
        private static func watch(_ sandbox: Sandbox, _ url: String) throws {
            let script = "while :; do curl -s -N -o /dev/null -A \"$1\" \"$2\"; sleep 0.2; done"
            for (index, agent) in ["a viewer of the tests", Self.hostile].enumerated() {
                _ = try sandbox.start(
                    "viewer-\(index)", try Tools.command("sh"), ["-c", script, "viewer", agent, url])
            }
        }

        @Test("what the page is made of needs neither inline scripts nor markup out of texts")
        func isStrict() throws {
            let folder = Tools.repository.appendingPathComponent("Sources/Shared/Node/ConsolePage/Page")
            let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            #expect(names.contains("index.html"))
            // What would make elements or programs out of texts.
            let forbidden = [
                "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "createContextualFragment",
                "DOMParser", "srcdoc", "eval(", "new Function", "setAttribute(\"style\"", "javascript:void",
            ]
            for name in names {
                let text = try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
                for word in forbidden { #expect(!text.contains(word), "\(name) has \(word)") }
            }
            let html = try String(contentsOf: folder.appendingPathComponent("index.html"), encoding: .utf8)
            for word in [" style=", "<style", " onclick=", " onload=", "http:", "https:"] {
                #expect(!html.contains(word), "index.html has \(word)")
            }
            for tag in html.components(separatedBy: "<script").dropFirst() {
                #expect(tag.prefix { $0 != ">" }.contains("src="), "an inline script")
            }
        }
    }
}
