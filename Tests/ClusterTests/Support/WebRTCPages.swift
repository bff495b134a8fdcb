import Foundation

/// Pages in headless Chromiums that publish by WHIP or play by WHEP with the browser's own objects, and tell over and
/// over what they send and see.
struct WebRTCPages: Sendable {
    /// A page to open.
    struct Request: Encodable, Sendable {
        enum Kind: String, Encodable {
            case publish, play
            /// A connection of the browser with itself, which shows what the browser alone costs.
            case direct
            /// A page of the node at `url`, whose button is clicked if it has one.
            case page
        }

        let name: String
        let kind: Kind
        /// Where the page comes from, so that the node is of its own origin.
        let base: String
        let url: String
        /// Pages with the same name here are in one browser.
        var browser = "one"
        /// `h264`, `vp8`, … and `opus`, `pcmu`, …; `none` for no such track. Without one the browser chooses.
        var video: String?
        var audio: String?
        /// A port to send media to instead of the one in the answer.
        var relay: Int?

        static func publish(
            _ name: String, _ node: ClusterNode, _ stream: String, video: String? = nil, audio: String? = nil,
            relay: Int? = nil
        ) -> Request {
            Request(
                name: name, kind: .publish, base: node.http(""), url: node.http("\(stream)/whip"), video: video,
                audio: audio, relay: relay)
        }

        static func play(
            _ name: String, _ node: ClusterNode, _ stream: String, browser: String = "one", relay: Int? = nil
        ) -> Request {
            Request(
                name: name, kind: .play, base: node.http(""), url: node.http("\(stream)/whep"), browser: browser,
                relay: relay)
        }
    }

    /// What one page sends or sees. Times are milliseconds.
    struct Look: Decodable, Sendable {
        /// Of the POST, and its answer unless it is 201.
        let status: Int
        let answer: String?
        let resource: String?
        /// How many sessions it began.
        let posts: Int
        /// Of the connection; of the page for `.page`.
        let state: String
        /// From the POST.
        let connected: Double?
        let firstFrame: Double?
        /// Frames encoded or decoded.
        let frames: Int
        let width: Int
        /// The codecs in use: `video` and `audio`.
        let codecs: [String: String]
        let freezes: Int
        /// Samples that were heard, without those that were made up.
        let samples: Double
        /// Times between two frames on the screen since `.reset`, and since the last one.
        let longestGap: Double
        let sinceFrame: Double?
        /// From the clock in the picture to its showing: the median since the look before.
        let delay: Double?
        /// Frames whose clock cannot be true.
        let broken: Int
        /// The brightness of 16 × 9 fields of the picture.
        let picture: [Int]?
        /// Exceptions of the page's scripts.
        let errors: [String]

        /// What a node's `diagnose` has to be asked for.
        var session: String? { self.resource?.split(separator: "/").last.map(String.init) }
    }

    /// What a page is told to do.
    enum Command {
        case reload(String)
        case close(String)
        /// Forget the longest gap between frames and the broken ones.
        case reset(String)
    }

    let child: Child
    private let output: URL
    private let commands: URL

    /// Opens the pages in the order given; they close by themselves after `seconds`.
    static func open(
        _ sandbox: Sandbox, _ pages: [Request], seconds: Int = 180, launch: Launch = Launch()
    ) throws -> WebRTCPages {
        let output = sandbox.file("\(UUID().uuidString.prefix(8)).json")
        let commands = try sandbox.write("\(output.lastPathComponent).commands", "")
        let list = try String(decoding: JSONEncoder().encode(pages), as: UTF8.self)
        let child = try sandbox.python(
            "webrtc-pages", self.driver,
            [try Tools.command("chromium"), list, output.path, commands.path, self.script, "\(seconds)"],
            launch: launch)
        return WebRTCPages(child: child, output: output, commands: commands)
    }

    /// Opens one more page.
    func add(_ request: Request) throws {
        try self.write(#"{"add": \#(String(decoding: try JSONEncoder().encode(request), as: UTF8.self))}"#)
    }

    func tell(_ command: Command) throws {
        switch command {
        case .reload(let name): try self.write(#"{"reload": "\#(name)"}"#)
        case .close(let name): try self.write(#"{"close": "\#(name)"}"#)
        case .reset(let name): try self.write(#"{"reset": "\#(name)"}"#)
        }
    }

    private func write(_ line: String) throws {
        let file = try FileHandle(forWritingTo: self.commands)
        try file.seekToEnd()
        try file.write(contentsOf: Data("\(line)\n".utf8))
        try file.close()
    }

    /// The newest look at all pages.
    func look() throws -> [String: Look] {
        guard self.child.isRunning else { throw Failure(self.child.report) }
        guard let data = try? Data(contentsOf: self.output) else { return [:] }
        return try JSONDecoder().decode([String: Look].self, from: data)
    }

    /// Waits until the page `name` is as it should be.
    @discardableResult
    func page(
        _ name: String, _ what: String, within limit: Duration = .seconds(20), _ condition: (Look) -> Bool
    ) async throws -> Look {
        var newest: Look?
        return try await until(
            "\(name): \(what); it is \(newest.map { "\($0)" } ?? "not open")", within: limit, every: .milliseconds(50)
        ) {
            newest = try self.look()[name]
            return newest.flatMap { condition($0) ? $0 : nil }
        }
    }

    /// Waits until the page shows a picture that moves: `frames` more are decoded, and what is to be seen changes.
    @discardableResult
    func isMoving(_ name: String, frames: Int = 25, within limit: Duration = .seconds(20)) async throws -> Look {
        var first = try await self.page(name, "shows a picture", within: limit) { $0.picture != nil }
        return try await self.page(name, "moves", within: limit) { look in
            // A new connection counts anew.
            if look.frames < first.frames { first = look }
            guard let one = first.picture, let other = look.picture else { return false }
            return look.frames >= first.frames + frames && PageDriver.moves(one, other)
        }
    }
}
