/// All that is wrong with one configuration, in the order of its sources.
package struct ConfigurationError: Error, Equatable, CustomStringConvertible {
    package let problems: [ConfigurationProblem]

    package init(problems: [ConfigurationProblem]) {
        self.problems = problems
    }

    /// One line per problem.
    package var description: String {
        self.problems.map(\.description).joined(separator: "\n")
    }
}

/// One mistake in a configuration: where, which key, and what.
package struct ConfigurationProblem: Error, Equatable, Sendable, CustomStringConvertible {
    /// Where a value was written.
    package enum Location: Equatable, Sendable {
        /// Line and column count from 1.
        case file(path: String, line: Int, column: Int)
        /// A file that could not be read or is not YAML at all.
        case wholeFile(path: String)
        case environment(name: String)
        /// The argument of `--set`.
        case commandLine(argument: String)
        /// No source set the key.
        case defaults
    }

    package enum Reason: Equatable, Sendable {
        /// Nothing is called so; `nearest` is the known key that is spelled most alike.
        case unknownKey(nearest: String?)
        /// The key exists, but for other roles.
        case otherRole(role: NodeSettings.Role, belongsTo: [NodeSettings.Role])
        case duplicateKey
        /// A mapping, list or scalar stands where another of the three belongs.
        case wrongShape(expected: String, found: String)
        case missingValue(expected: String)
        case invalidValue(found: String, expected: String)
        case outOfRange(found: String, range: String)
        /// The file is not YAML.
        case syntax(String)
        case unreadable(String)
        /// Two or more settings that exclude each other; the text names all keys.
        case contradiction(String)
    }

    /// The full path, such as `rtmp.chunk_size`; empty when the whole source is meant.
    package var key: String
    package var location: Location
    package var reason: Reason

    package init(key: String, location: Location, reason: Reason) {
        self.key = key
        self.location = location
        self.reason = reason
    }

    /// `FILE:LINE:COLUMN: error: KEY: what is wrong`.
    package var description: String {
        let place = self.location.description
        return (place.isEmpty ? "" : "\(place): ") + "error: " + (self.key.isEmpty ? "" : "\(self.key): ")
            + self.reason.description
    }
}

extension ConfigurationProblem.Location: CustomStringConvertible {
    package var description: String {
        switch self {
        case .file(let path, let line, let column): "\(path):\(line):\(column)"
        case .wholeFile(let path): path
        case .environment(let name): "environment variable \(name)"
        case .commandLine(let argument): "--set \(argument)"
        case .defaults: ""
        }
    }
}

extension ConfigurationProblem.Reason: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unknownKey(let nearest):
            nearest.map { "unknown key; did you mean \"\($0)\"?" } ?? "unknown key"
        case .otherRole(let role, let owners):
            "the \(role.rawValue) has no such setting; it belongs to the "
                + owners.map(\.rawValue).joined(separator: " and the ")
        case .duplicateKey: "the key is there twice"
        case .wrongShape(let expected, let found): "expected \(expected), found \(found)"
        case .missingValue(let expected): "the value is missing; expected \(expected)"
        case .invalidValue(let found, let expected): "\"\(found)\" is not valid; expected \(expected)"
        case .outOfRange(let found, let range): "\(found) is out of range; allowed is \(range)"
        case .syntax(let text): "not valid YAML: \(text)"
        case .unreadable(let text): "cannot read: \(text)"
        case .contradiction(let text): text
        }
    }
}

/// What a value's parser finds wrong; the loader adds key and place.
enum ValueProblem: Error, Equatable {
    case invalid(expected: String)
    case outOfRange(String)
}

/// Spelling distance, for "did you mean".
enum Spelling {
    /// The candidate that is nearest to `text`, if one is near enough to be meant: by the whole path, or else by its
    /// last component. Of several that are equally near, the first.
    static func nearest(to text: String, among candidates: [String]) -> String? {
        let whole = self.best(text, candidates.map { ($0, $0) })
        if let whole { return whole }
        return self.best(self.leaf(text), candidates.map { ($0, self.leaf($0)) })
    }

    private static func best(_ text: String, _ candidates: [(result: String, spelled: String)]) -> String? {
        let limit = max(2, text.count / 3)
        return
            candidates
            .map { (result: $0.result, distance: self.distance(text.lowercased(), $0.spelled.lowercased())) }
            .filter { $0.distance <= limit && $0.distance < text.count }
            .min { $0.distance < $1.distance }?
            .result
    }

    private static func leaf(_ path: String) -> String {
        path.split(separator: ".").last.map(String.init) ?? path
    }

    /// Levenshtein's distance with a swap of neighbours as one step.
    static func distance(_ left: String, _ right: String) -> Int {
        let left = Array(left.utf8)
        let right = Array(right.utf8)
        var beforePrevious = [Int]()
        var previous = Array(0...right.count)
        for row in 0..<left.count {
            var current = [row + 1]
            for column in 0..<right.count {
                let substitution = previous[column] + (left[row] == right[column] ? 0 : 1)
                var best = min(substitution, previous[column + 1] + 1, current[column] + 1)
                let isSwap =
                    row > 0 && column > 0 && left[row] == right[column - 1] && left[row - 1] == right[column]
                if isSwap {
                    best = min(best, beforePrevious[column - 1] + 1)
                }
                current.append(best)
            }
            beforePrevious = previous
            previous = current
        }
        return previous[right.count]
    }
}
