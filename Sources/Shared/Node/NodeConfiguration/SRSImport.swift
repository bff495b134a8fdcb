package import SRSConfig

/// Makes a Weir configuration of an srs.conf.
///
/// What it writes loads without mistakes; a value that means something a little different has a comment. What has no
/// equal is told with its place, and so is what nobody needs any more.
package struct SRSImport {
    /// A directive that is not in the result.
    package struct Note: Sendable, Hashable, CustomStringConvertible {
        package enum Kind: String, Sendable { case noEqual = "no equal", notNeeded = "not needed" }

        package var kind: Kind
        package var path: String
        package var line: Int
        package var column: Int
        package var directive: String
        package var text: String

        package var description: String {
            "\(self.path):\(self.line):\(self.column): \(self.kind.rawValue): \(self.directive): \(self.text)"
        }
    }

    /// One key of the result.
    struct Entry {
        /// Below `stream` for entries of streams, else the full path.
        var key: String
        var values: [String]
        var comment: String?
        /// Where it comes from.
        var directive: SRSDirective
    }

    struct Vhost {
        var name: String
        var entries: [Entry] = []
    }

    /// The YAML, which ends with a line break.
    package private(set) var yaml = ""
    /// In the order of the file.
    package private(set) var notes: [Note] = []

    /// Whether everything has an equal.
    package var isComplete: Bool { !self.notes.contains { $0.kind == .noEqual } }

    let role: NodeSettings.Role
    private let path: String
    private var entries: [Entry] = []
    private(set) var vhosts: [Vhost] = []
    /// Values are tried on these.
    private var scratch: NodeSettings

    /// - Parameters:
    ///   - role: `origin` or `edge`; keys that it does not have are told.
    ///   - path: stands in front of the notes.
    package init(
        _ statements: [SRSDirective], path: String, role: NodeSettings.Role
    ) {
        precondition(role != .coordinator, "SRS has nothing like a coordinator")
        self.role = role
        self.path = path
        self.scratch = NodeSettings(role: role)
        for statement in statements where statement.name != "vhost" { self.readGlobal(statement) }
        let blocks = statements.filter { $0.name == "vhost" }
        for block in blocks { self.readVhost(block) }
        self.finish(statements)
        self.addOrigins()
        self.yaml = self.write()
        self.settleContradictions()
        self.notes.sort { ($0.line, $0.column) < ($1.line, $1.column) }
    }

    /// What SRS allows together and Weir does not is left out, and told.
    private mutating func settleContradictions() {
        for attempt in 0..<100 {
            do throws(ConfigurationError) {
                let file = ConfigurationLoader.File(path: self.path, text: self.yaml)
                _ = try ConfigurationLoader.load(role: self.role, file: file)
                return
            } catch {
                guard let problem = error.problems.first else { return }
                if !self.leaveOut(problem), problem.key == "api.listen", let first = self.entries.first {
                    self.entries.append(
                        Entry(
                            key: "api.listen", values: ["127.0.0.1:\(1_986 + attempt)"], comment: "1985 is taken",
                            directive: first.directive))
                }
                self.addOrigins()
                self.yaml = self.write()
            }
        }
    }

    /// An edge without upstreams does not start.
    private mutating func addOrigins() {
        guard self.role == .edge, !self.hasKey("cluster.origins") else { return }
        let place = SRSDirective(name: "cluster", arguments: [], line: 1, column: 1)
        self.note(place, "an edge needs cluster.origins or cluster.coordinator; no vhost is remote")
        self.set("cluster.origins", ["127.0.0.1:19350"], place, comment: "CHANGE THIS: no vhost of the file is remote")
    }

    /// Takes the entry out that a problem is about. Returns whether there was one.
    private mutating func leaveOut(_ problem: ConfigurationProblem) -> Bool {
        var text = ""
        if case .contradiction(let reason) = problem.reason { text = reason }
        if let index = self.entries.firstIndex(where: { $0.key == problem.key }) {
            self.note(self.entries.remove(at: index).directive, "\(problem.key): \(text)")
            return true
        }
        // SRS shares a port of HTTP with WebRTC.
        if problem.key == "rtc.tcp.listen", let index = self.entries.firstIndex(where: { $0.key == "rtc.tcp.enabled" })
        {
            self.entries[index].values = ["false"]
            self.entries[index].comment = "the port of rtc.listen is another server's"
            return true
        }
        for vhost in self.vhosts.indices {
            // The only vhost is the section `stream`.
            let prefixes = ["vhosts[\(vhost)].stream.", "stream."]
            let match = self.vhosts[vhost].entries.firstIndex { entry in
                prefixes.contains { $0 + entry.key == problem.key }
            }
            if let match {
                self.note(self.vhosts[vhost].entries.remove(at: match).directive, "\(problem.key): \(text)")
                return true
            }
        }
        return false
    }

    // MARK: Collecting

    mutating func note(_ directive: SRSDirective, _ text: String) { self.note(.noEqual, directive, text) }

    mutating func note(_ kind: Note.Kind, _ directive: SRSDirective, _ text: String) {
        let words = ([directive.name] + directive.arguments.prefix(1)).joined(separator: " ")
        let shown = directive.name == "password" || directive.name == "username" ? directive.name : words
        self.notes.append(
            Note(
                kind: kind, path: self.path, line: directive.line, column: directive.column, directive: shown,
                text: text))
    }

    /// Sets a key of the node, if the value is one that it takes; the first of several different values stays.
    mutating func set(_ key: String, _ values: [String], _ directive: SRSDirective, comment: String? = nil) {
        guard let entry = SettingSchema.entries[key] else { preconditionFailure("there is no setting \(key)") }
        guard entry.roles.contains(self.role) else {
            return self.note(
                directive, "\(key) is a setting of the \(entry.roles.map(\.rawValue).joined(separator: ", "))")
        }
        guard !self.refersToEnvironment(values, directive) else { return }
        do throws(SettingField<NodeSettings>.ElementProblem) {
            try entry.field.assign(values, &self.scratch)
        } catch {
            return self.note(
                directive, "\(key) does not take this: \(ConfigurationLoader.reason(error.problem, found: ""))")
        }
        if let known = self.entries.first(where: { $0.key == key }) {
            guard known.values != values else { return }
            return self.note(directive, "\(key) is one for the whole node, and already set")
        }
        self.entries.append(Entry(key: key, values: values, comment: comment, directive: directive))
    }

    /// Adds an element to a list of the node.
    mutating func append(_ key: String, _ value: String, _ directive: SRSDirective) {
        guard let index = self.entries.firstIndex(where: { $0.key == key }) else {
            return self.set(key, [value], directive)
        }
        guard let entry = SettingSchema.entries[key] else { preconditionFailure("there is no setting \(key)") }
        let values = self.entries[index].values + [value]
        do throws(SettingField<NodeSettings>.ElementProblem) {
            try entry.field.assign(values, &self.scratch)
            self.entries[index].values = values
        } catch {
            self.note(directive, "\(key) does not take this: \(ConfigurationLoader.reason(error.problem, found: ""))")
        }
    }

    /// Sets a key of the streams of the vhost that is being read.
    mutating func setStream(_ key: String, _ values: [String], _ directive: SRSDirective, comment: String? = nil) {
        guard let field = SettingSchema.stream.first(where: { $0.name == key }) else {
            preconditionFailure("there is no setting stream.\(key)")
        }
        guard !self.refersToEnvironment(values, directive), !self.vhosts.isEmpty else { return }
        do throws(SettingField<StreamSettings>.ElementProblem) {
            try field.assign(values, &self.scratch.stream)
        } catch {
            let reason = ConfigurationLoader.reason(error.problem, found: values[error.index])
            return self.note(directive, "stream.\(key) does not take this: \(reason)")
        }
        let last = self.vhosts.count - 1
        self.vhosts[last].entries.removeAll { $0.key == key }
        self.vhosts[last].entries.append(Entry(key: key, values: values, comment: comment, directive: directive))
    }

    private mutating func refersToEnvironment(_ values: [String], _ directive: SRSDirective) -> Bool {
        guard values.contains(where: { $0.first == "$" }) else { return false }
        self.note(directive, "values of the environment are not looked up: set WEIR_… there instead")
        return true
    }

    mutating func beginVhost(_ name: String) { self.vhosts.append(Vhost(name: name)) }

    func hasStreamKey(_ key: String) -> Bool { self.vhosts.last?.entries.contains { $0.key == key } == true }

    func hasKey(_ key: String) -> Bool { self.entries.contains { $0.key == key } }

    func value(of key: String) -> String? { self.entries.first { $0.key == key }?.values.first }

    // MARK: Values

    /// `on` or `off`; anything else is told.
    mutating func flag(_ directive: SRSDirective) -> Bool? {
        switch directive.arguments.first {
        case "on": return true
        case "off": return false
        default:
            self.note(directive, "expected on or off")
            return nil
        }
    }

    /// The only argument, or the first of several.
    mutating func argument(_ directive: SRSDirective) -> String? {
        guard let first = directive.arguments.first else {
            self.note(directive, "the value is missing")
            return nil
        }
        return first
    }

    /// Whether a block says `enabled on`, which SRS wants of nearly all.
    static func isEnabled(_ block: SRSDirective) -> Bool {
        block.block?.last { $0.name == "enabled" }?.arguments.first == "on"
    }

    // MARK: Writing

    private func write() -> String {
        var lines = ["# Made of \(YAMLWriter.comment(self.path)). Every setting: docs/configuration.md"]
        var entries = self.entries
        var vhosts = self.vhosts
        if vhosts.count == 1, vhosts[0].name == "__defaultVhost__" {
            entries += vhosts[0].entries.map {
                Entry(key: "stream.\($0.key)", values: $0.values, comment: $0.comment, directive: $0.directive)
            }
            vhosts = []
        } else if !vhosts.isEmpty {
            entries.append(
                Entry(
                    key: "stream.hls.enabled", values: ["false"], comment: "as in SRS, where vhosts ask for it",
                    directive: SRSDirective(name: "vhost", arguments: [], line: 1, column: 1)))
        }
        Self.write(entries, order: SettingSchema.keys, indentation: 0, to: &lines)
        if !vhosts.isEmpty { lines.append("vhosts:") }
        for vhost in vhosts {
            lines.append("  - name: \(YAMLWriter.quote(vhost.name))")
            guard !vhost.entries.isEmpty else { continue }
            lines.append("    stream:")
            Self.write(vhost.entries, order: SettingSchema.stream.map(\.name), indentation: 3, to: &lines)
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func write(_ entries: [Entry], order: [String], indentation: Int, to lines: inout [String]) {
        let places = Dictionary(uniqueKeysWithValues: order.enumerated().map { ($1, $0) })
        var open: [Substring] = []
        for entry in entries.sorted(by: { (places[$0.key] ?? 0) < (places[$1.key] ?? 0) }) {
            let parts = entry.key.split(separator: ".")
            let parents = Array(parts.dropLast())
            let common = zip(open, parents).prefix { $0 == $1 }.count
            open = parents
            for (depth, parent) in parents.enumerated().dropFirst(common) {
                lines.append("\(YAMLWriter.indent(indentation + depth))\(parent):")
            }
            let quoted = entry.values.map(YAMLWriter.quote)
            let isList = SettingSchema.isList(entry.key)
            let value = isList ? "[\(quoted.joined(separator: ", "))]" : quoted[0]
            let comment = entry.comment.map { "  # \($0)" } ?? ""
            lines.append(
                "\(YAMLWriter.indent(indentation + parents.count))\(parts[parts.count - 1]): \(value)\(comment)")
        }
    }
}

extension YAMLWriter {
    /// A text that stays within its comment.
    static func comment(_ text: String) -> String {
        String(text.map { $0.isNewline ? " " : $0 })
    }
}

extension SettingSchema {
    /// Whether a key, of the node or below `stream`, holds a list.
    static func isList(_ key: String) -> Bool {
        self.entries[key]?.field.isList ?? self.stream.first { $0.name == key }?.isList ?? false
    }
}
