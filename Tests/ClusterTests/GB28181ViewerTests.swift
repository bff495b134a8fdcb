import Foundation
import Testing

extension ClusterTests {
    /// Channels of devices are invited for viewers of every protocol, at the origin that the device registered at and at an
    /// edge, and left when the last viewer is gone.
    @Suite struct GB28181ViewerTests {
        private typealias Devices = GB28181Tests

        enum Way: String, CaseIterable, Sendable {
            case rtmp, flv, ts, srt, rtsp, whep, hls
        }

        @Test(
            "each protocol's viewer has the channel invited, and it is hung up after the last one",
            arguments: [false, true])
        func onDemand(atEdge: Bool) async throws {
            try await Sandbox.run { sandbox in
                let media = try await Devices.media(sandbox, seconds: 12, reordered: 0)
                let cluster = atEdge ? try await Cluster(sandbox) : nil
                let (origin, sip) = try await ClusterNode.forDevices(
                    sandbox,
                    [
                        "gb28181.idle_timeout": "1s", "stream.hls.segment_duration": "1s",
                        "stream.publish.grace": "0s",
                    ], in: cluster)
                let node = try await cluster?.edge("edge", ["edge.linger": "1s"]) ?? origin
                let device = try SimulatedDevice(sandbox, Devices.settings(sip, media))
                try await Devices.isRegistered(origin, sandbox)
                try await cluster?.isRecovered()
                for (index, way) in Way.allCases.enumerated() {
                    let viewer = try Self.play(sandbox, node, way)
                    try await device.event("invite", number: index, within: .seconds(15))
                    try await viewer.isServed()
                    try await viewer.leaves()
                    // Viewers that come by single requests are missed later.
                    try await device.event("bye", number: index, within: .seconds(60))
                    // The next one finds nothing of it.
                    try await until("the stream is over", within: .seconds(10)) {
                        try await origin.streams()?.isEmpty == true
                    }
                }
            }
        }

        @Test("of many viewers the first has a channel invited, and the last has it left")
        func many() async throws {
            try await Sandbox.run { sandbox in
                let media = try await Devices.media(sandbox, seconds: 6, reordered: 0)
                let cluster = try await Cluster(sandbox)
                let (origin, sip) = try await ClusterNode.forDevices(
                    sandbox, ["gb28181.idle_timeout": "1s"], in: cluster)
                let edges = [
                    try await cluster.edge("edge-1", ["edge.linger": "1s"]),
                    try await cluster.edge("edge-2", ["edge.linger": "1s"]),
                ]
                let device = try SimulatedDevice(sandbox, Devices.settings(sip, media))
                try await Devices.isRegistered(origin, sandbox)
                try await cluster.isRecovered()
                let viewers = try ([origin] + edges).flatMap { node in
                    [try Self.play(sandbox, node, .rtmp), try Self.play(sandbox, node, .flv)]
                }
                for viewer in viewers { try await viewer.isServed() }
                for viewer in viewers.dropLast() { try await viewer.leaves() }
                try await Task.sleep(for: .seconds(4))
                #expect(device.events("invite").count == 1 && device.events("bye").isEmpty)
                try await viewers.last?.leaves()
                try await device.event("bye", within: .seconds(20))
            }
        }

        /// Somebody who plays the channel.
        private struct Player {
            let recording: Recording
            /// So much has to come. `nil`: the player ends by itself, and then tells what came.
            let bytes: Int?

            func isServed() async throws {
                if let bytes = self.bytes {
                    try await self.recording.grows(beyond: bytes, within: .seconds(30))
                } else {
                    try await self.recording.child.wait(within: .seconds(40))
                    let report = try JSON(String(contentsOf: self.recording.file, encoding: .utf8))
                    guard report["frames"].int ?? 0 > 25 else { throw Failure("nothing was shown: \(report)") }
                }
            }

            func leaves() async throws {
                guard self.bytes != nil else { return }
                self.recording.child.signal(2)
                try await self.recording.child.wait(within: .seconds(15))
            }
        }

        private static func play(_ sandbox: Sandbox, _ node: ClusterNode, _ way: Way) throws -> Player {
            let stream = Devices.stream
            let name = "\(way.rawValue)-\(UUID().uuidString.prefix(4))"
            switch way {
            case .rtmp:
                return Player(recording: try Media.record(sandbox, node.rtmp(stream), to: "\(name).flv"), bytes: 50_000)
            case .flv:
                return Player(
                    recording: try Media.download(sandbox, node.flv(stream), to: "\(name).flv"), bytes: 50_000)
            case .ts:
                let url = node.http("\(stream).ts")
                return Player(recording: try Media.download(sandbox, url, to: "\(name).ts"), bytes: 50_000)
            case .srt:
                let url = SRTClients.url(node.srtPort, "#!::r=\(stream)")
                return Player(recording: try SRTClients.record(sandbox, url, to: "\(name).ts"), bytes: 50_000)
            case .rtsp: return try self.copy(sandbox, ["-rtsp_transport", "tcp", "-i", node.rtsp(stream)], to: name)
            case .hls: return try self.copy(sandbox, ["-i", node.http("\(stream).m3u8")], to: name)
            case .whep:
                let report = sandbox.file("\(name).json")
                let child = try WebRTCClients.startAiortc(
                    sandbox, play: node.http("\(stream)/whep"), seconds: 5, output: report)
                return Player(recording: Recording(child: child, file: report), bytes: nil)
            }
        }

        private static func copy(_ sandbox: Sandbox, _ input: [String], to name: String) throws -> Player {
            let file = sandbox.file("\(name).mkv")
            let child = try sandbox.start(
                "play-\(name)", try Tools.newFFmpeg,
                Media.quiet + input + [
                    "-map", "0", "-c", "copy", "-flush_packets", "1", "-y", "-f", "matroska", file.path,
                ])
            return Player(recording: Recording(child: child, file: file), bytes: 20_000)
        }
    }
}
