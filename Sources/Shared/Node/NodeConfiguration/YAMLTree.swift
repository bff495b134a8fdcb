import Yams

/// A YAML document as the loader needs it: texts, places, and nothing resolved.
struct YAMLTree {
    enum Content {
        case scalar(String)
        case sequence([YAMLTree])
        case mapping([Pair])
    }

    struct Pair {
        let key: String
        let location: ConfigurationProblem.Location
        let value: YAMLTree
    }

    /// Deeper documents are refused; the deepest setting is six levels down.
    private static let maximumDepth = 16

    let content: Content
    let location: ConfigurationProblem.Location
    /// Whether the value was left out or is `null`.
    let isNull: Bool

    /// What a message calls the node.
    var shape: String {
        switch self.content {
        case .scalar where self.isNull: "nothing"
        case .scalar(let text): "\"\(text)\""
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }

    /// Parses one document; nil when the text holds none, such as only comments.
    init?(parsing text: String, path: String) throws(ConfigurationProblem) {
        let node: Node?
        do {
            node = try compose(yaml: text)
        } catch let error as YamlError {
            throw Self.problem(error, path: path)
        } catch {
            throw ConfigurationProblem(key: "", location: .wholeFile(path: path), reason: .syntax("\(error)"))
        }
        guard let node else { return nil }
        try self.init(node, path: path, depth: 0)
    }

    private init(_ node: Node, path: String, depth: Int) throws(ConfigurationProblem) {
        let mark = node.mark
        let location = ConfigurationProblem.Location.file(path: path, line: mark?.line ?? 1, column: mark?.column ?? 1)
        guard depth < Self.maximumDepth else {
            let reason = ConfigurationProblem.Reason.syntax("nested deeper than \(Self.maximumDepth) levels")
            throw ConfigurationProblem(key: "", location: location, reason: reason)
        }
        self.location = location
        switch node {
        case .scalar(let scalar):
            self.content = .scalar(scalar.string)
            let isPlain = scalar.style == .plain || scalar.style == .any
            self.isNull = isPlain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
        case .sequence(let sequence):
            var elements: [YAMLTree] = []
            for element in sequence {
                elements.append(try YAMLTree(element, path: path, depth: depth + 1))
            }
            self.content = .sequence(elements)
            self.isNull = false
        case .mapping(let mapping):
            var pairs: [Pair] = []
            for (key, value) in mapping {
                let keyTree = try YAMLTree(key, path: path, depth: depth + 1)
                guard case .scalar(let text) = keyTree.content else {
                    let reason = ConfigurationProblem.Reason.wrongShape(expected: "a key", found: keyTree.shape)
                    throw ConfigurationProblem(key: "", location: keyTree.location, reason: reason)
                }
                let valueTree = try YAMLTree(value, path: path, depth: depth + 1)
                pairs.append(Pair(key: text, location: keyTree.location, value: valueTree))
            }
            self.content = .mapping(pairs)
            self.isNull = false
        case .alias:
            let reason = ConfigurationProblem.Reason.syntax("an alias that stands for nothing")
            throw ConfigurationProblem(key: "", location: location, reason: reason)
        }
    }

    private static func problem(_ error: YamlError, path: String) -> ConfigurationProblem {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            let location = ConfigurationProblem.Location.file(path: path, line: mark.line, column: mark.column)
            return ConfigurationProblem(key: "", location: location, reason: .syntax(problem))
        case .duplicatedKeysInMapping(let duplicates, let context):
            let location = ConfigurationProblem.Location.file(
                path: path, line: context.mark.line, column: context.mark.column)
            return ConfigurationProblem(
                key: duplicates.joined(separator: ", "), location: location, reason: .duplicateKey)
        case .reader(let problem, let offset, _, _):
            let place = offset.map { " at character \($0)" } ?? ""
            return ConfigurationProblem(
                key: "", location: .wholeFile(path: path), reason: .syntax("\(problem)\(place)"))
        default:
            return ConfigurationProblem(key: "", location: .wholeFile(path: path), reason: .syntax("\(error)"))
        }
    }
}
