import Foundation
import Testing

/// A recording as the API of an origin or of the coordinator lists it.
struct RecordingView: Decodable, Sendable, Equatable {
    let id: String
    let node: String
    let startMillis: Int
    let endMillis: Int
    let format: String
    let bytes: Int
    let path: String
    let state: String
}

/// The disks of an origin as its API shows them.
struct StorageView: Decodable, Sendable {
    struct Folder: Decodable, Sendable {
        let root: String
        let alarm: String?
        let writtenFiles: Int
        let failedWrites: Int
        let droppedWrites: Int
        let queuedBytes: Int
    }

    struct Stream: Decodable, Sendable {
        let key: String
        let madeSegments: Int
        let madeParts: Int
        let storedSegments: Int
        let unwrittenSegments: Int
    }

    let catalog: String
    let folders: [Folder]
    let streams: [Stream]

    func folder(_ name: String) -> Folder? { self.folders.first { $0.root.hasSuffix(name) } }
}

extension ClusterNode {
    /// The recordings of a stream, the oldest first.
    func recordings(_ key: String) async throws -> [RecordingView] {
        struct Page: Decodable { let recordings: [RecordingView] }
        let parts = key.split(separator: "/", maxSplits: 1)
        let path = "/api/v1/recordings?app=\(parts[0])&stream=\(parts[1])"
        return try await self.get(path, as: Page.self)?.recordings ?? []
    }

    /// Waits until the stream has so many recordings, and all of them are complete.
    func finishes(_ key: String, count: Int, within limit: Duration = .seconds(10)) async throws -> [RecordingView] {
        try await until("\(self.name) lists \(count) finished recordings of \(key)", within: limit) {
            let found = try await self.recordings(key)
            return found.count == count && found.allSatisfy { $0.state == "finished" } ? found : nil
        }
    }

    func storage() async throws -> StorageView? { try await self.get("/api/v1/storage", as: StorageView.self) }

    /// The lines that the program logged with `text` in them.
    func lines(with text: String) -> [String] {
        self.child.text.split(separator: "\n").map(String.init).filter { $0.contains(text) }
    }
}

/// Judges files that the system wrote.
enum Files {
    /// What ffmpeg has to say while it reads and decodes all of a file or URL; nothing, if all is well.
    static func complaints(_ sandbox: Sandbox, _ input: String, _ options: [String] = []) async throws -> String {
        let child = try sandbox.start(
            "check", try Tools.ffmpeg, Media.quiet + options + ["-i", input, "-map", "0", "-f", "null", "-"])
        try await child.wait(within: .seconds(30))
        return try ClusterTests.HLSTests.complaints(child).joined(separator: "\n")
    }

    /// The packets of any file in one form, so that formats can be compared: without what TS adds to pictures.
    static func packets(_ sandbox: Sandbox, _ file: String, _ name: String) async throws -> [Media.Unit] {
        let copy = sandbox.file("\(name)-copy.mkv")
        _ = try await sandbox.run(
            try Tools.ffmpeg,
            Media.quiet
                + [
                    "-copyts", "-i", file, "-map", "0:v", "-map", "0:a", "-c", "copy", "-bsf:v",
                    "filter_units=remove_types=6-9", "-y", copy.path,
                ],
            within: .seconds(30))
        return try await Media.packets(sandbox, copy)
    }

    /// Says how files that follow each other differ from their source; `nil` if each unit of it is in one of them,
    /// in order and at its time.
    static func difference(_ files: [[Media.Unit]], _ source: [Media.Unit], isPart: Bool = false) -> String? {
        var rest = [source.filter { $0.stream == 0 }[...], source.filter { $0.stream == 1 }[...]]
        for (number, file) in files.enumerated() {
            let wanted = (0..<2).flatMap { stream in
                let count = file.filter { $0.stream == stream }.count
                defer { rest[stream] = rest[stream].dropFirst(count) }
                return Array(rest[stream].prefix(count))
            }
            if let found = Media.difference(file, wanted, streams: [0, 1]) { return "file \(number): \(found)" }
        }
        guard !isPart, let left = rest.first(where: { !$0.isEmpty }) else { return nil }
        return "\(left.count) units of stream \(left[left.startIndex].stream) are missing at the end"
    }

    /// Whether the packets begin with a keyframe.
    static func beginsWithKeyframe(_ sandbox: Sandbox, _ file: String) async throws -> Bool {
        let flags = try await sandbox.run(
            try Tools.ffprobe,
            ["-v", "error", "-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0", file])
        return flags.hasPrefix("K")
    }
}

/// An HTTP server that agrees to everything and notes what it was told.
struct CallbackServer: Sendable {
    /// What SRS sends when a recording is finished.
    struct Note: Decodable, Sendable {
        struct Body: Decodable, Sendable {
            let action: String
            let server_id: String
            let service_id: String
            let client_id: String
            let ip: String
            let vhost: String
            let app: String
            let stream: String
            let stream_url: String
            let param: String
            let cwd: String
            let file: String
        }

        let method: String
        let path: String
        let contentType: String
        let body: Body
    }

    let url: String
    private let file: URL

    init(_ sandbox: Sandbox) async throws {
        let port = try Sandbox.freePorts(1)[0]
        let script = try sandbox.write("callbacks.py", Self.script)
        let file = sandbox.file("callbacks.json")
        let child = try sandbox.start("callbacks", try Tools.python, [script.path, "\(port)", file.path])
        try await until("the callback server listens", within: .seconds(10)) { child.text.contains("ready") }
        self.url = "http://127.0.0.1:\(port)/dvr"
        self.file = file
    }

    var notes: [Note] {
        get throws {
            let text = (try? String(contentsOf: self.file, encoding: .utf8)) ?? ""
            return try text.split(separator: "\n").map { try JSONDecoder().decode(Note.self, from: Data($0.utf8)) }
        }
    }

    private static let script = #"""
        import http.server, json, sys

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                note = {"method": self.command, "path": self.path, "body": body,
                        "contentType": self.headers.get("Content-Type", "")}
                with open(sys.argv[2], "a") as file:
                    file.write(json.dumps(note) + "\n")
                self.send_response(200)
                self.send_header("Content-Length", "1")
                self.end_headers()
                self.wfile.write(b"0")
            def log_message(self, *_): pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
        print("ready", flush=True)
        server.serve_forever()
        """#
}
