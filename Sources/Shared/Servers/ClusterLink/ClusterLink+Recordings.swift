import Logging
package import Media
package import Placement

/// The cluster's catalogue of recordings, which the coordinator keeps.
extension ClusterLink {
    /// Tells the coordinator of a recording of this node. False: it could not be told, tell it again later.
    ///
    /// What the coordinator refuses for good counts as told, and is logged.
    package func report(_ recording: RecordingEntry) async -> Bool {
        guard let client = await self.connectedClient() else { return false }
        do throws(CoordinatorCallError) {
            try await client.put(self.url("recordings/\(recording.id)"), recording)
            return true
        } catch {
            guard case .problem(let problem) = error, (400..<500).contains(problem.status), problem.status != 401,
                problem.status != 429
            else { return false }
            self.logger.error(
                "the coordinator refuses a recording",
                metadata: ["recording": "\(recording.id)", "reason": "\(problem.title)"])
            return true
        }
    }

    /// The recordings of `key` that overlap a time, on whatever origins, the first 10,000; `nil` if nobody can tell.
    package func recordings(of key: StreamKey, fromMillis: Int64, toMillis: Int64) async -> [RecordingEntry]? {
        guard let client = await self.connectedClient() else { return nil }
        let stream =
            "vhost=\(CoordinatorClient.escape(key.vhost))&app=\(CoordinatorClient.escape(key.app))"
            + "&stream=\(CoordinatorClient.escape(key.name))"
        let url = self.url("recordings?\(stream)&from=\(fromMillis)&to=\(toMillis)&limit=1000")
        var found: [RecordingEntry] = []
        var cursor: String?
        for _ in 0..<10 {
            let place = cursor.map { "&cursor=\(CoordinatorClient.escape($0))" } ?? ""
            guard let page = try? await client.get(url + place, as: RecordingPage.self) else { return nil }
            found += page.recordings
            cursor = page.next
            if cursor == nil { break }
        }
        return found
    }

    /// What became of the question where a recording is.
    package enum RecordingLookup: Sendable {
        case found(RecordingEntry)
        case unknown
        case unreachable
    }

    package func recording(_ id: String) async -> RecordingLookup {
        guard RecordingEntry.isID(id) else { return .unknown }
        guard let client = await self.connectedClient() else { return .unreachable }
        do throws(CoordinatorCallError) {
            return .found(try await client.get(self.url("recordings/\(id)"), as: RecordingEntry.self))
        } catch {
            return error.problemName == "unknown-recording" ? .unknown : .unreachable
        }
    }

    /// The nodes that the coordinator hears of, whatever their state; `nil` if it cannot be asked.
    package func nodes() async -> [NodeDescription]? {
        struct List: Decodable {
            struct Entry: Decodable { let node: NodeDescription }
            let nodes: [Entry]
        }
        guard let client = await self.connectedClient() else { return nil }
        return try? await client.get(self.url("nodes"), as: List.self).nodes.map(\.node)
    }
}
