import CoordinatorStore
import Hummingbird
import NIOCore
import Placement

/// Answer of `POST /api/v1/backup`.
struct BackupAnswer: Codable, Hashable {
    var file: String
    var bytes: Int64
    var atMillis: Int64
}

/// Copies of the database while it is in use.
extension CoordinatorRoutes {
    func backupCalls() -> [APIRoute] {
        [APIRoute(.post, Self.prefix + "/backup", .admin, isStreaming: true) { try await self.backup($0) }]
    }

    private func backup(_ request: APIRequest) async throws -> Response {
        let isDownload = try request.query.flag("download")
        guard self.core.backups.begin() else {
            throw Problem("backup-running", .conflict, "A backup is being made")
        }
        let made: BackupFolder.Made
        do {
            made = try await self.core.backups.make(from: self.core.store)
        } catch {
            self.core.backups.end()
            throw error
        }
        try await self.core.record(
            ClusterEvent(kind: .backedUp, detail: isDownload ? "download" : made.file), actor: request.caller.name)
        guard isDownload else {
            self.core.backups.end()
            return try Self.json(BackupAnswer(file: made.file, bytes: made.bytes, atMillis: made.atMillis))
        }
        return Response(
            status: .ok,
            headers: [
                .contentType: "application/vnd.sqlite3", .cacheControl: "no-store",
                .contentDisposition: "attachment; filename=\"\(made.file)\"", .contentLength: "\(made.bytes)",
            ],
            body: ResponseBody(contentLength: Int(made.bytes)) { writer in
                defer { self.core.backups.end() }
                try await self.core.backups.send(made, to: &writer)
                try await writer.finish(nil)
            })
    }
}
