import Foundation

/// A JSON value whose shape a test asks for as it goes. What is not there is `null`.
enum JSON: Decodable, Hashable, CustomStringConvertible {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let string = try? value.decode(String.self) {
            self = .string(string)
        } else if let array = try? value.decode([JSON].self) {
            self = .array(array)
        } else {
            self = .object(try value.decode([String: JSON].self))
        }
    }

    init(_ text: String) throws {
        self = try JSONDecoder().decode(JSON.self, from: Data(text.utf8))
    }

    subscript(name: String) -> JSON {
        if case .object(let members) = self { members[name] ?? .null } else { .null }
    }

    subscript(index: Int) -> JSON { self.array.indices.contains(index) ? self.array[index] : .null }

    var array: [JSON] { if case .array(let values) = self { values } else { [] } }
    var members: [String: JSON] { if case .object(let members) = self { members } else { [:] } }
    var string: String? { if case .string(let text) = self { text } else { nil } }
    var int: Int? { if case .number(let number) = self { Int(exactly: number.rounded()) } else { nil } }
    var number: Double? { if case .number(let number) = self { number } else { nil } }
    var bool: Bool? { if case .bool(let value) = self { value } else { nil } }

    var description: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .number(let number): "\(number)"
        case .string(let text): "\"\(text)\""
        case .array(let values): "\(values)"
        case .object(let members):
            "{\(members.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", "))}"
        }
    }
}

/// An HTTP answer, as curl saw it.
struct Reply: Sendable, CustomStringConvertible {
    /// 0 when there was none.
    let status: Int
    /// Of the last answer, with the status line.
    let head: String
    let text: String

    var json: JSON { (try? JSON(self.text)) ?? .null }

    /// The value of a header field; `nil` if it is not there.
    func header(_ name: String) -> String? {
        for line in self.head.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2, parts[0].lowercased() == name.lowercased() {
                return parts[1].trimmingCharacters(in: .whitespaces)
            }
        }
        return nil
    }

    var description: String { "\(self.status) \(self.text.prefix(400))" }
}

extension Sandbox {
    /// Makes a request with curl, which has the words of `reach` in front.
    func request(
        _ url: String, method: String = "GET", headers: [String] = [], body: String? = nil, options: [String] = [],
        reach: [String] = []
    ) async throws -> Reply {
        let head = self.file("\(UUID().uuidString.prefix(8)).head")
        let data = body.map { ["--data-binary", $0] } ?? []
        let command = reach + [try Tools.command("curl")]
        let text = try await self.run(
            command[0],
            command.dropFirst() + ["-s", "-m", "10", "-X", method, "-D", head.path, "-w", "\n%{http_code}"]
                + headers.flatMap { ["-H", $0] } + data + options + [url], expecting: nil)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        return Reply(
            status: lines.last.flatMap { Int($0) } ?? 0,
            head: (try? String(contentsOf: head, encoding: .utf8)) ?? "",
            text: lines.dropLast().joined(separator: "\n"))
    }
}

extension ClusterNode {
    /// A request to the API; a coordinator's carries the secret of the tests.
    func api(
        _ path: String, method: String = "GET", headers: [String] = [], body: String? = nil, in sandbox: Sandbox
    ) async throws -> Reply {
        let own = self.role == "coordinator" ? ["Authorization: Bearer \(Cluster.secret)"] : []
        return try await sandbox.request(
            self.apiURL(path), method: method, headers: headers + own, body: body, reach: self.launch.reach)
    }

    /// The clients that the API lists as SRS does.
    func clients(_ sandbox: Sandbox) async throws -> [JSON] {
        try await self.api("/api/v1/clients?count=1000", in: sandbox).json["clients"].array
    }

    /// Waits for one client of this type, and gives it.
    func client(_ type: String, of name: String, _ sandbox: Sandbox) async throws -> JSON {
        try await until("\(self.name) lists a \(type) of \(name)", within: .seconds(10), every: .milliseconds(100)) {
            try await self.clients(sandbox).first { $0["type"].string == type && $0["name"].string == name }
        }
    }

    /// How many file descriptors the program has open.
    var descriptors: Int {
        get throws { try FileManager.default.contentsOfDirectory(atPath: "/proc/\(self.child.pid)/fd").count }
    }
}

extension Sandbox {
    /// Writes a Python script and starts it.
    func python(
        _ name: String, _ script: String, _ arguments: [String], output: URL? = nil, launch: Launch = Launch()
    ) throws -> Child {
        let words = launch.words + [try Tools.python, try self.write("\(name).py", script).path] + arguments
        return try self.start(
            name, words[0], Array(words.dropFirst()), environment: launch.environment, output: output)
    }

    /// Runs a Python script that prints JSON.
    func report(
        _ name: String, _ script: String, _ arguments: [String], within limit: Duration
    ) async throws -> JSON {
        let file = try self.write("\(name).py", script)
        return try JSON(try await self.run(try Tools.python, [file.path] + arguments, within: limit))
    }
}
