import Foundation
import Media
import NIOHTTP1
import Placement
import Testing

@testable import CoordinatorService

@Suite("recordings API", .timeLimit(.minutes(2)), .serialized) struct RecordingAPITests {
    private func entry(_ id: String, node: String = "a", start: Int64 = 1_000) throws -> RecordingEntry {
        RecordingEntry(
            id: id, key: try StreamKey(app: "live", name: "game"), epoch: 7, node: node, startMillis: start,
            endMillis: start + 500, format: .mp4, tracks: [RecordedTrack(codec: .hevc, width: 2, height: 2)], bytes: 9,
            path: "/r/\(id).mp4", state: .finished)
    }

    private func put(_ entry: RecordingEntry, as id: String? = nil, at url: String) async throws -> Int {
        let body = String(decoding: try JSONEncoder().encode(entry), as: UTF8.self)
        return try await call("\(url)/api/v1/recordings/\(id ?? entry.id)", method: .PUT, body: body).status
    }

    @Test("what origins report is listed by stream and time") func list() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        for number in 0..<3 {
            let entry = try self.entry("r\(number)", start: Int64(number) * 1_000)
            #expect(try await self.put(entry, at: coordinator.url) == 204)
        }
        let url = coordinator.url + "/api/v1/recordings"
        let all = try await call(url + "?vhost=__defaultVhost__&app=live&stream=game&limit=2")
        let page = try JSONDecoder().decode(RecordingPage.self, from: Data(all.body.utf8))
        #expect(page.recordings == [try self.entry("r0", start: 0), try self.entry("r1")])
        let rest = try await call(url + "?limit=2&cursor=\(page.next ?? "")")
        #expect(try JSONDecoder().decode(RecordingPage.self, from: Data(rest.body.utf8)).recordings.map(\.id) == ["r2"])
        let some = try await call(url + "?from=1200&to=1300&state=finished")
        #expect(try JSONDecoder().decode(RecordingPage.self, from: Data(some.body.utf8)).recordings.map(\.id) == ["r1"])
        #expect(try await call(url + "/r1").status == 200)
        #expect(try await call(url + "/r9").status == 404)
        for query in ["state=x", "limit=0", "limit=1001", "from=x", "cursor=1"] {
            #expect(try await call(url + "?" + query).status == 400)
        }
        await coordinator.stop()
    }

    @Test("entries that cannot be are refused") func refusals() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        #expect(try await self.put(self.entry("x"), as: "y", at: coordinator.url) == 409)
        #expect(try await self.put(self.entry("X"), at: coordinator.url) == 400)
        var entry = try self.entry("x")
        entry.endMillis = 0
        #expect(try await self.put(entry, at: coordinator.url) == 422)
        entry = try self.entry("x")
        entry.path = String(repeating: "p", count: 5_000)
        #expect(try await self.put(entry, at: coordinator.url) == 400)
        #expect(try await self.put(self.entry("x"), at: coordinator.url) == 204)
        #expect(try await self.put(self.entry("x", node: "b"), at: coordinator.url) == 409)
        await coordinator.stop()
    }

    @Test("a deletion is the origin's business, unless it is forced") func deletion() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let url = coordinator.url + "/api/v1/recordings/x"
        #expect(try await call(url, method: .DELETE, headers: asAdmin).status == 404)
        #expect(try await self.put(self.entry("x"), at: coordinator.url) == 204)
        #expect(try await call(url, method: .DELETE, headers: asAdmin).status == 409)
        #expect(try await call(url + "?force=1", method: .DELETE, headers: asAdmin).status == 204)
        #expect(try await call(url).status == 404)
        await coordinator.stop()
    }
}
