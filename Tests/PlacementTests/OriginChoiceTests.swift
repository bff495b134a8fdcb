import Foundation
import Media
import Testing

@testable import Placement

@Suite("choice of an origin") struct OriginChoiceTests {
    private func candidates(_ loads: [Double], regions: [String] = []) throws -> [OriginChoice.Candidate] {
        try loads.enumerated().map { index, load in
            OriginChoice.Candidate(
                node: try Fixture.node("n\(index)", region: index < regions.count ? regions[index] : ""),
                utilisation: load)
        }
    }

    private func chosen(
        _ candidates: [OriginChoice.Candidate], _ name: String, region: String = "", draws: (UInt64, UInt64) = (0, 0)
    ) throws -> String? {
        let key = try StreamKey(app: "live", name: name)
        return OriginChoice.rank(candidates, for: key, region: region, draws: draws).first?.id.rawValue
    }

    @Test("nobody is chosen from nobody")
    func none() throws {
        #expect(try self.chosen([], "x") == nil)
    }

    @Test("a key goes to the same origin in whatever order they are listed, and keys spread over all")
    func spread() throws {
        let candidates = try self.candidates([0, 0, 0, 0])
        var counts: [String: Int] = [:]
        for index in 0..<1_000 {
            let first = try #require(try self.chosen(candidates, "\(index)"))
            #expect(try self.chosen(candidates.reversed(), "\(index)") == first)
            counts[first, default: 0] += 1
        }
        #expect(counts.count == 4)
        #expect(counts.values.allSatisfy { (180...320).contains($0) })
    }

    @Test("an origin that goes moves only its own keys")
    func leave() throws {
        let four = try self.candidates([0, 0, 0, 0])
        let three = Array(four.dropLast())
        for index in 0..<200 {
            let before = try self.chosen(four, "\(index)")
            guard before != "n3" else { continue }
            #expect(try self.chosen(three, "\(index)") == before)
        }
    }

    @Test("an origin at 60 % is passed over while another is below")
    func busy() throws {
        let candidates = try self.candidates([0.6, 0.59])
        for index in 0..<50 { #expect(try self.chosen(candidates, "\(index)") == "n1") }
    }

    @Test("when all are busy the better of two random ones is chosen")
    func allBusy() throws {
        let candidates = try self.candidates([0.7, 0.95])
        for draw in 0..<UInt64(4) { #expect(try self.chosen(candidates, "k", draws: (draw, draw)) == "n0") }
    }

    @Test("the asker's region goes first, unless it is busy")
    func region() throws {
        let near = try self.candidates([0.5, 0.1], regions: ["eu", "us"])
        for index in 0..<50 { #expect(try self.chosen(near, "\(index)", region: "eu") == "n0") }
        let busy = try self.candidates([0.65, 0.1], regions: ["eu", "us"])
        for index in 0..<50 { #expect(try self.chosen(busy, "\(index)", region: "eu") == "n1") }
    }

    @Test("one that was not heard in time comes last, however idle")
    func unhealthy() throws {
        var candidates = try self.candidates([0, 0.9])
        candidates[0].isHealthy = false
        #expect(try self.chosen(candidates, "k") == "n1")
    }
}

@Suite("values") struct ValueTests {
    @Test("a node id has 1 to 64 letters, digits, dots, underscores and hyphens")
    func nodeID() throws {
        #expect(try NodeID("origin-1.eu_2").rawValue == "origin-1.eu_2")
        #expect(throws: PlacementValueError.length(.nodeID, found: 0)) { try NodeID("") }
        #expect(throws: PlacementValueError.length(.nodeID, found: 65)) {
            try NodeID(String(repeating: "a", count: 65))
        }
        #expect(throws: PlacementValueError.forbiddenByte(.nodeID, byte: 0x2F, offset: 1)) { try NodeID("a/b") }
    }

    @Test("a node's description is checked field by field")
    func description() throws {
        let valid = try Fixture.node("a")
        #expect(throws: Never.self) { try valid.validate() }
        var node = valid
        node.rtmpPort = 0
        #expect(throws: PlacementValueError.outOfRange(.rtmpPort)) { try node.validate() }
        node = valid
        node.host = "a b"
        #expect(throws: PlacementValueError.forbiddenByte(.host, byte: 0x20, offset: 1)) { try node.validate() }
        node = valid
        node.instance = ""
        #expect(throws: PlacementValueError.length(.instance, found: 0)) { try node.validate() }
        (node.instance, node.srtPort, node.rtspPort, node.rtspsPort) = ("i", 0, 65_535, nil)
        #expect(throws: Never.self) { try node.validate() }
        node.srtPort = 65_536
        #expect(throws: PlacementValueError.outOfRange(.srtPort)) { try node.validate() }
        (node.srtPort, node.rtspPort) = (1, -1)
        #expect(throws: PlacementValueError.outOfRange(.rtspPort)) { try node.validate() }
        (node.rtspPort, node.rtspsPort) = (1, -1)
        #expect(throws: PlacementValueError.outOfRange(.rtspsPort)) { try node.validate() }
    }

    @Test("nodes and coordinators of earlier versions understand and are understood")
    func versions() throws {
        let older = try Fixture.node("a")
        let text = String(decoding: try JSONEncoder().encode(older), as: UTF8.self)
        #expect(!text.contains("srtPort") && !text.contains("rtsp"))
        #expect(try JSONDecoder().decode(NodeDescription.self, from: Data(text.utf8)) == older)
        #expect(!older.servesTransportStreams)
        var newer = older
        (newer.srtPort, newer.rtspPort, newer.rtspsPort) = (10_080, 8_554, 0)
        (newer.suppliesStreams, newer.takesPostedFLV) = (true, false)
        #expect(try JSONDecoder().decode(NodeDescription.self, from: try JSONEncoder().encode(newer)) == newer)
        #expect(newer.servesTransportStreams)
        // What an earlier coordinator reads of it: it passes over what it does not know.
        struct Earlier: Decodable { let rtmpPort: Int }
        #expect(try JSONDecoder().decode(Earlier.self, from: try JSONEncoder().encode(newer)).rtmpPort == 1935)
    }

    @Test("a status with too many streams, an epoch beyond 2^53 or a negative silence is refused")
    func status() throws {
        let key = try StreamKey(app: "live", name: "demo")
        let report = StreamReport(key: key, epoch: 1, state: .live)
        #expect(throws: PlacementValueError.tooMany(.streams, found: 2, allowed: 1)) {
            try NodeStatus(streams: [report, report]).validate(maximumStreams: 1)
        }
        #expect(throws: PlacementValueError.outOfRange(.epoch)) {
            try NodeStatus(streams: [StreamReport(key: key, epoch: 1 << 53, state: .live)]).validate(maximumStreams: 1)
        }
        #expect(throws: PlacementValueError.outOfRange(.silentMillis)) {
            try NodeStatus(streams: [StreamReport(key: key, epoch: 1, state: .live, silentMillis: -1)])
                .validate(maximumStreams: 1)
        }
    }

    @Test("utilisation is the scarcest resource, and unknown limits do not count")
    func utilisation() {
        #expect(
            LoadVector(egressBitsPerSecond: 50, egressCapacityBitsPerSecond: 100, busiestLoop: 0.2).utilisation == 0.5)
        #expect(LoadVector(egressBitsPerSecond: 50, busiestLoop: 0.2, memoryBytes: 90).utilisation == 0.2)
        #expect(LoadVector(busiestLoop: 0.2, memoryBytes: 90, memoryLimitBytes: 100).utilisation == 0.9)
    }

    @Test("a provisional epoch lies between the last granted one and the next second's")
    func provisional() throws {
        let node = try NodeID("a")
        let granted = PlacementEpoch.next(after: 0, wallSeconds: 100)
        let provisional = PlacementEpoch.provisional(after: granted, wallSeconds: 100, node: node)
        #expect(provisional > granted)
        #expect(PlacementEpoch.next(after: provisional, wallSeconds: 100) > provisional)
        #expect(PlacementEpoch.counter(of: provisional) == 101)
    }
}
