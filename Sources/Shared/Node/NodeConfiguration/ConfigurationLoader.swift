import Media

/// Makes settings of their sources. Later ones win: built-in defaults, file, environment, `--set`.
///
/// All problems of all sources are reported together. The loader reads no file and no environment itself.
package struct ConfigurationLoader {
    /// A configuration file that was read.
    package struct File: Sendable {
        /// As the operator wrote it; messages begin with it.
        package var path: String
        package var text: String

        package init(path: String, text: String) {
            self.path = path
            self.text = text
        }
    }

    /// Variables that are `WEIR_…` and no settings: they belong to the command line and to the build.
    package static let reservedEnvironmentNames: Set<String> = ["WEIR_CONFIG", "WEIR_BUILD"]

    private let role: NodeSettings.Role
    private var settings: NodeSettings
    private var problems: [ConfigurationProblem] = []
    /// Where each key was set last.
    private var locations: [String: ConfigurationProblem.Location] = [:]
    private var vhosts: YAMLTree?

    private init(role: NodeSettings.Role) {
        self.role = role
        self.settings = NodeSettings(role: role)
    }

    /// Loads, merges and checks.
    ///
    /// - Parameters:
    ///   - file: the YAML file, if there is one.
    ///   - environment: the whole environment; only `WEIR_…` is looked at.
    ///   - assignments: the arguments of `--set`, `KEY=VALUE` each, in order.
    ///   - hostName: see `NodeSettings.resolve`.
    ///   - coreCount: see `NodeSettings.resolve`.
    ///   - isReadable: whether there is a readable file at a path that a setting names.
    /// - Throws: everything that is wrong, sorted by source.
    package static func load(
        role: NodeSettings.Role, file: File? = nil, environment: [String: String] = [:], assignments: [String] = [],
        hostName: String = "localhost", coreCount: Int = 1, isReadable: (String) -> Bool = { _ in true }
    ) throws(ConfigurationError) -> NodeSettings {
        var loader = ConfigurationLoader(role: role)
        if let file {
            loader.read(file)
        }
        loader.read(environment: environment)
        for assignment in assignments {
            loader.read(assignment: assignment)
        }
        loader.readVhosts()
        loader.settings.resolve(hostName: hostName, coreCount: coreCount)
        // Contradictions between values that are wrong anyway would only confuse.
        if loader.problems.isEmpty {
            let contradictions = loader.settings.validate()
            loader.problems = (contradictions + loader.settings.unreadableFiles(isReadable)).map { problem in
                var problem = problem
                problem.location = loader.locations[problem.key] ?? problem.location
                return problem
            }
        }
        guard loader.problems.isEmpty else { throw ConfigurationError(problems: loader.problems) }
        return loader.settings
    }

    // MARK: File

    private mutating func read(_ file: File) {
        do throws(ConfigurationProblem) {
            guard let root = try YAMLTree(parsing: file.text, path: file.path) else { return }
            self.walk(root, path: "")
        } catch {
            self.problems.append(error)
        }
    }

    /// Walks one mapping of the file; `path` is its full key, empty for the document.
    private mutating func walk(_ tree: YAMLTree, path: String) {
        guard case .mapping(let pairs) = tree.content else {
            // A section whose keys are all commented out is empty, not wrong.
            guard !tree.isNull else { return }
            self.report(path, tree.location, .wrongShape(expected: "a mapping of keys to values", found: tree.shape))
            return
        }
        for pair in pairs {
            let key = path.isEmpty ? pair.key : "\(path).\(pair.key)"
            if key == "vhosts" {
                self.takeVhosts(pair.value, at: pair.location)
            } else if let entry = SettingSchema.entries[key] {
                guard self.allows(entry.roles, key: key, location: pair.location) else { continue }
                self.assign(entry.field, pair.value)
            } else if SettingSchema.mappings.contains(key) {
                let owners = Self.owners(of: key)
                guard self.allows(owners, key: key, location: pair.location) else { continue }
                self.walk(pair.value, path: key)
            } else {
                self.reportUnknown(key, pair.location)
            }
        }
    }

    private mutating func assign(_ field: SettingField<NodeSettings>, _ value: YAMLTree) {
        // `rtmp.listen: …` and `rtmp: { listen: … }` mean the same, so that both may not be there.
        guard self.locations[field.name] == nil else {
            self.report(field.name, value.location, .duplicateKey)
            return
        }
        if let reason = Self.assign(field, value, to: &self.settings) {
            self.report(field.name, reason.location, reason.reason)
        } else {
            self.locations[field.name] = value.location
        }
    }

    /// Gives a field the value of a YAML node, or tells what is wrong with it.
    private static func assign<Root>(
        _ field: SettingField<Root>, _ value: YAMLTree, to root: inout Root
    ) -> (location: ConfigurationProblem.Location, reason: ConfigurationProblem.Reason)? {
        var elements: [YAMLTree]
        switch value.content {
        case .scalar where value.isNull:
            guard field.isList else { return (value.location, .missingValue(expected: field.syntax)) }
            elements = []
        case .scalar: elements = [value]
        case .sequence(let list) where field.isList: elements = list
        case .sequence, .mapping:
            return (value.location, .wrongShape(expected: field.syntax, found: value.shape))
        }
        var texts: [String] = []
        for element in elements {
            guard case .scalar(let text) = element.content, !element.isNull else {
                return (element.location, .wrongShape(expected: "a scalar in the list", found: element.shape))
            }
            texts.append(text)
        }
        do throws(SettingField<Root>.ElementProblem) {
            try field.assign(texts, &root)
            return nil
        } catch {
            let found = field.isSecret ? "\(Secret(texts[error.index]))" : texts[error.index]
            return (elements[error.index].location, Self.reason(error.problem, found: found))
        }
    }

    // MARK: Environment and command line

    private mutating func read(environment: [String: String]) {
        for (name, value) in environment.sorted(by: { $0.key < $1.key }) where name.hasPrefix("WEIR_") {
            guard !Self.reservedEnvironmentNames.contains(name), !ServiceVariable.isOne(name) else { continue }
            let location = ConfigurationProblem.Location.environment(name: name)
            guard let key = SettingSchema.environmentNames[name], let entry = SettingSchema.entries[key] else {
                let nearest = Spelling.nearest(to: name, among: SettingSchema.environmentNames.keys.sorted())
                self.report("", location, .unknownKey(nearest: nearest))
                continue
            }
            // One environment file often serves all containers, so a setting of another role is not for us.
            guard entry.roles.contains(self.role) else { continue }
            self.assign(entry.field, text: value, location: location)
        }
    }

    private mutating func read(assignment: String) {
        guard let equals = assignment.firstIndex(of: "=") else {
            let location = ConfigurationProblem.Location.commandLine(argument: assignment)
            self.report("", location, .missingValue(expected: "KEY=VALUE, such as rtmp.listen=:1936"))
            return
        }
        let key = String(assignment[..<equals])
        let value = String(assignment[assignment.index(after: equals)...])
        // The value is left out of the place, because it may be a secret.
        let location = ConfigurationProblem.Location.commandLine(argument: key)
        if let entry = SettingSchema.entries[key] {
            guard self.allows(entry.roles, key: key, location: location) else { return }
            self.assign(entry.field, text: value, location: location)
        } else if SettingSchema.mappings.contains(key) || key.hasPrefix("vhosts") {
            self.report(key, location, .wrongShape(expected: "the key of one value", found: "a section"))
        } else {
            self.reportUnknown(key, location)
        }
    }

    private mutating func assign(
        _ field: SettingField<NodeSettings>, text: String, location: ConfigurationProblem.Location
    ) {
        var texts = [text]
        if field.isList {
            texts = text.split(separator: ",").map { String($0).trimmed }.filter { !$0.isEmpty }
        }
        do throws(SettingField<NodeSettings>.ElementProblem) {
            try field.assign(texts, &self.settings)
            self.locations[field.name] = location
        } catch {
            let found = field.isSecret ? "\(Secret(texts[error.index]))" : texts[error.index]
            self.report(field.name, location, Self.reason(error.problem, found: found))
        }
    }

    // MARK: Vhosts

    private mutating func takeVhosts(_ tree: YAMLTree, at location: ConfigurationProblem.Location) {
        guard self.allows([.origin, .edge], key: "vhosts", location: location) else { return }
        self.vhosts = tree
    }

    /// Runs last: a vhost starts with the node's `stream` section as all sources together left it.
    private mutating func readVhosts() {
        guard let vhosts = self.vhosts, !vhosts.isNull else { return }
        guard case .sequence(let list) = vhosts.content else {
            self.report("vhosts", vhosts.location, .wrongShape(expected: "a list of vhosts", found: vhosts.shape))
            return
        }
        for (index, tree) in list.enumerated() {
            self.readVhost(tree, path: "vhosts[\(index)]")
        }
    }

    private mutating func readVhost(_ tree: YAMLTree, path: String) {
        guard case .mapping(let pairs) = tree.content else {
            self.report(path, tree.location, .wrongShape(expected: "a mapping with a name", found: tree.shape))
            return
        }
        var draft = VhostDraft()
        var stream = self.settings.stream
        var apps: YAMLTree?
        for pair in pairs {
            let key = "\(path).\(pair.key)"
            if let field = VhostDraft.fields.first(where: { $0.name == pair.key }) {
                if let problem = Self.assign(field, pair.value, to: &draft) {
                    self.report(key, problem.location, problem.reason)
                }
                self.locations[key] = pair.value.location
            } else if pair.key == "stream" {
                self.walkStream(pair.value, path: key, below: "", into: &stream)
            } else if pair.key == "apps" {
                apps = pair.value
            } else {
                self.report(
                    key, pair.location, .unknownKey(nearest: Spelling.nearest(to: pair.key, among: VhostDraft.keys)))
            }
        }
        guard !draft.name.isEmpty else {
            if !pairs.contains(where: { $0.key == "name" }) {
                let reason = ConfigurationProblem.Reason.missingValue(expected: "the name of the vhost")
                self.report("\(path).name", tree.location, reason)
            }
            return
        }
        var vhost = VhostSettings(name: draft.name, domains: draft.domains, stream: stream)
        if let apps {
            self.readApps(apps, path: "\(path).apps", into: &vhost)
        }
        self.settings.vhosts.append(vhost)
    }

    private mutating func readApps(_ tree: YAMLTree, path: String, into vhost: inout VhostSettings) {
        guard !tree.isNull else { return }
        guard case .mapping(let pairs) = tree.content else {
            self.report(path, tree.location, .wrongShape(expected: "a mapping of apps", found: tree.shape))
            return
        }
        for pair in pairs {
            guard (try? StreamKey(app: pair.key, name: "any")) != nil else {
                let reason = ConfigurationProblem.Reason.invalidValue(found: pair.key, expected: "the name of an app")
                self.report("\(path).\(pair.key)", pair.location, reason)
                continue
            }
            var stream = vhost.stream
            self.walkStream(pair.value, path: "\(path).\(pair.key)", below: "", into: &stream)
            vhost.apps[pair.key] = stream
        }
    }

    /// Walks settings of streams at `path`; `below` is the part of the path that is within the `stream` section.
    private mutating func walkStream(
        _ tree: YAMLTree, path: String, below: String, into stream: inout StreamSettings
    ) {
        guard case .mapping(let pairs) = tree.content else {
            guard !tree.isNull else { return }
            self.report(path, tree.location, .wrongShape(expected: "a mapping of keys to values", found: tree.shape))
            return
        }
        for pair in pairs {
            let name = below.isEmpty ? pair.key : "\(below).\(pair.key)"
            let key = "\(path).\(pair.key)"
            if let field = SettingSchema.stream.first(where: { $0.name == name }) {
                if let problem = Self.assign(field, pair.value, to: &stream) {
                    self.report(key, problem.location, problem.reason)
                }
            } else if SettingSchema.mappings.contains("stream.\(name)") {
                self.walkStream(pair.value, path: key, below: name, into: &stream)
            } else {
                let names = SettingSchema.stream.map(\.name)
                let nearest = Spelling.nearest(to: name, among: names + SettingSchema.mappings(of: names))
                self.report(key, pair.location, .unknownKey(nearest: nearest))
            }
        }
    }

    // MARK: Problems

    private mutating func report(
        _ key: String, _ location: ConfigurationProblem.Location, _ reason: ConfigurationProblem.Reason
    ) {
        self.problems.append(ConfigurationProblem(key: key, location: location, reason: reason))
    }

    private mutating func reportUnknown(_ key: String, _ location: ConfigurationProblem.Location) {
        let mine = SettingSchema.keys.filter { SettingSchema.entries[$0]?.roles.contains(self.role) == true }
        let candidates = mine + SettingSchema.mappings(of: mine) + ["vhosts"]
        self.report(key, location, .unknownKey(nearest: Spelling.nearest(to: key, among: candidates)))
    }

    private mutating func allows(
        _ roles: [NodeSettings.Role], key: String, location: ConfigurationProblem.Location
    ) -> Bool {
        guard !roles.contains(self.role) else { return true }
        self.report(key, location, .otherRole(role: self.role, belongsTo: roles))
        return false
    }

    private static func owners(of mapping: String) -> [NodeSettings.Role] {
        NodeSettings.Role.allCases.filter { role in
            SettingSchema.entries.contains { $0.key.hasPrefix("\(mapping).") && $0.value.roles.contains(role) }
        }
    }

    static func reason(_ problem: ValueProblem, found: String) -> ConfigurationProblem.Reason {
        switch problem {
        case .invalid(let expected): .invalidValue(found: found, expected: expected)
        case .outOfRange(let range): .outOfRange(found: found, range: range)
        }
    }
}

/// The part of a vhost that is read like any other setting.
struct VhostDraft {
    var name = ""
    var domains: [DomainPattern] = []

    static let keys = ["name", "domains", "stream", "apps"]
    static let fields: [SettingField<VhostDraft>] = [
        .init(
            "name", \.name,
            .scalar("name") { (text) throws(ValueProblem) in
                guard (try? StreamKey(vhost: text, app: "any", name: "any")) != nil else {
                    throw .invalid(expected: "a name without slashes, spaces and URL characters")
                }
                return text
            } write: {
                $0
            }, "What stream keys and the API call it."),
        .init(
            "domains", \.domains,
            .list("domains") { (text) throws(ValueProblem) in
                try DomainPattern(parsing: text)
            } write: {
                $0.description
            }, "The hosts that it answers to; `*.example.com` stands for all below."),
    ]
}

/// Variables that Kubernetes and Docker links put into every container for a service whose name begins with `weir`.
enum ServiceVariable {
    static func isOne(_ name: String) -> Bool {
        if name.hasSuffix("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.hasSuffix("_PORT") {
            return true
        }
        // NAME_PORT_1935_TCP, NAME_PORT_1935_TCP_ADDR, …_PORT, …_PROTO
        guard let port = name.firstRange(of: "_PORT_") else { return false }
        let parts = name[port.upperBound...].split(separator: "_")
        return parts.count >= 2 && Int(parts[0]) != nil && (parts[1] == "TCP" || parts[1] == "UDP")
    }
}

extension String {
    /// Without spaces and tabs at both ends.
    var trimmed: String {
        let start = self.drop { $0 == " " || $0 == "\t" }
        let count = start.reversed().prefix { $0 == " " || $0 == "\t" }.count
        return String(start.dropLast(count))
    }
}
