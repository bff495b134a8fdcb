import Foundation
import Testing

/// Real programs, real players: one test at a time, since they share the machine.
@Suite(.serialized)
struct ClusterTests {}

extension ClusterTests {
    @Suite struct RecordingTests {
        @Test("the comparison notices a unit that is missing, doubled, changed, moved or late")
        func comparison() {
            let source = (0..<20).map { Media.Unit(stream: $0 % 2, dts: $0 * 20, pts: $0 * 20 + 40, hash: "\($0)") }
            func difference(_ change: (inout [Media.Unit]) -> Void, isPart: Bool = false) -> String? {
                var found = source
                change(&found)
                return Media.difference(found, source, streams: [0, 1], isPart: isPart)
            }
            func moved(_ unit: Media.Unit, by millis: Int, hash: String? = nil) -> Media.Unit {
                Media.Unit(
                    stream: unit.stream, dts: unit.dts + millis, pts: unit.pts + millis, hash: hash ?? unit.hash)
            }
            #expect(difference { _ in } == nil)
            #expect(difference { $0 = $0.map { moved($0, by: 5_000) } } == nil)
            #expect(difference { $0[7] = moved($0[7], by: 1) } == nil)
            #expect(difference { $0[7] = moved($0[7], by: 2) } != nil)
            #expect(difference { $0[7] = moved($0[7], by: 0, hash: "other") } != nil)
            #expect(difference { $0.remove(at: 7) } != nil)
            #expect(difference { $0.insert($0[7], at: 7) } != nil)
            #expect(difference { $0.swapAt(7, 9) } != nil)
            #expect(difference { $0 = $0.map { $0.stream == 1 ? moved($0, by: 2) : $0 } } != nil)
            #expect(difference({ $0 = Array($0[4..<16]) }, isPart: true) == nil)
            #expect(difference({ $0 = Array($0[4..<16].filter { $0.dts != 160 }) }, isPart: true) != nil)
            #expect(Media.disorder(source) == nil)
            #expect(Media.disorder(source.reversed()) != nil)
        }

        @Test("a recording from an edge has every frame of the source once, in order, within a millisecond")
        func recordingIsComplete() async throws {
            let seconds = Tools.seconds("WEIR_TEST_RECORDING_SECONDS", default: 20)
            try await Sandbox.run { sandbox in
                // One group of pictures, which is kept for viewers who are late.
                let source = try await Media.makeSource(sandbox, seconds: seconds, group: seconds * 25)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin("origin", ["stream.publish.grace": "1s"])
                let edge = try await cluster.edge(
                    "edge",
                    ["edge.missing_stream": "wait", "edge.missing_stream_wait": "30s", "stream.publish.grace": "1s"])
                // The viewers come first, so that they get the stream from its start.
                let rtmp = try Media.record(sandbox, edge.rtmp("live/one"), to: "rtmp.flv")
                let http = try Media.download(sandbox, edge.flv("live/one"), to: "http.flv")
                let publisher = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await publisher.wait(within: .seconds(seconds + 15))
                try await rtmp.child.wait(within: .seconds(20))
                try await http.child.wait(within: .seconds(20))

                let packets = try await Media.packets(sandbox, source)
                let pictures = try await Media.pictures(sandbox, source)
                let sound = try await Media.soundHash(sandbox, source)
                try #require(pictures.count == seconds * 25)
                for recording in [rtmp, http] {
                    let name = recording.file.lastPathComponent
                    let found = try await Media.packets(sandbox, recording.file)
                    let difference = Media.difference(found, packets, streams: [0, 1])
                    try #require(difference == nil, "\(name), packets")
                    let foundPictures = try await Media.pictures(sandbox, recording.file)
                    let pictureDifference = Media.difference(foundPictures, pictures, streams: [0])
                    try #require(pictureDifference == nil, "\(name), pictures")
                    let foundSound = try await Media.soundHash(sandbox, recording.file)
                    try #require(foundSound == sound, "\(name), sound")
                }
            }
        }
    }
}
