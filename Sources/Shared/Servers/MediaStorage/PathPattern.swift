import Glibc
package import Media

/// How the files of a stream are named: a relative path with variables in brackets, such as
/// `[vhost]/[app]/[stream]/[timestamp].mp4`.
///
/// The variables are SRS's, whose date parts are written as the reference time of Go, and a few of Weir's own; see
/// `Variable`. A pattern is checked once, and each path that it makes is checked again, so that no name of a stream
/// reaches out of the root folder.
package struct PathPattern: Sendable, Hashable {
    /// What may stand in brackets.
    package enum Variable: String, Sendable, Hashable, CaseIterable {
        case vhost, app, stream
        /// Four digits.
        case year = "2006"
        /// Two digits, from `01` on; so are the next ones.
        case month = "01"
        case day = "02"
        case hour = "15"
        case minute = "04"
        case second = "05"
        /// Three digits.
        case millisecond = "999"
        /// Milliseconds since 1970.
        case timestamp
        /// The sequence number.
        case sequence = "seq"
        /// Milliseconds.
        case duration
        /// The claim of the stream in the cluster.
        case epoch
        /// `video`, `audio` or `main`.
        case track
        /// What the file's format calls for, without a dot.
        case suffix = "ext"
    }

    /// The clock of the date parts.
    package enum Clock: String, Sendable, Hashable, Codable {
        case utc, local
    }

    private enum Piece: Sendable, Hashable {
        case text(String)
        case variable(Variable)
    }

    /// The longest pattern, and the longest path that it may make, in bytes.
    package static let maximumLength = 1_024
    /// The longest name of one file or folder, in bytes; temporary files need a few more.
    package static let maximumComponentLength = 240

    /// The pattern as it was written.
    package let text: String
    package let clock: Clock
    private let pieces: [Piece]

    /// Reads a pattern. Refused: unknown variables, an open bracket without its end, an absolute path, empty components,
    /// `.` and `..`, NUL, and a path that ends with `/`.
    package init(_ text: String, clock: Clock = .utc) throws(PathPatternError) {
        guard !text.isEmpty else { throw .empty }
        guard text.utf8.count <= Self.maximumLength else { throw .tooLong(length: text.utf8.count) }
        var pieces: [Piece] = []
        var literal = ""
        var rest = Substring(text)
        while let first = rest.first {
            guard first == "[" else {
                literal.append(first)
                rest.removeFirst()
                continue
            }
            guard let end = rest.firstIndex(of: "]") else {
                throw .unfinishedVariable(offset: text.utf8.count - rest.utf8.count)
            }
            let name = String(rest[rest.index(after: rest.startIndex)..<end])
            guard let variable = Variable(rawValue: name) else { throw .unknownVariable(name) }
            if !literal.isEmpty { pieces.append(.text(literal)) }
            literal = ""
            pieces.append(.variable(variable))
            rest = rest[rest.index(after: end)...]
        }
        if !literal.isEmpty { pieces.append(.text(literal)) }
        // What variables stand for is not empty and holds no forbidden component, so one letter can take their place.
        try Self.check(
            pieces.reduce(into: "") { path, piece in
                switch piece {
                case .text(let text): path += text
                case .variable: path += "x"
                }
            })
        self.text = text
        self.clock = clock
        self.pieces = pieces
    }

    /// The variables that the pattern uses.
    package var variables: Set<Variable> {
        Set(
            self.pieces.compactMap { piece in
                if case .variable(let variable) = piece { variable } else { nil }
            })
    }

    /// The relative path for `values`. Errors: `tooLong`, `componentTooLong`, `forbiddenComponent`.
    package func path(for values: PathValues) throws(PathPatternError) -> String {
        var path = ""
        var date: CalendarDate?
        for piece in self.pieces {
            switch piece {
            case .text(let text): path += text
            case .variable(let variable):
                if let plain = Self.plainText(of: variable, values) {
                    path += plain
                } else {
                    let known = date ?? CalendarDate(unixMillis: values.unixMillis, clock: self.clock)
                    date = known
                    path += known.text(of: variable)
                }
            }
        }
        try Self.check(path)
        return path
    }

    /// `nil` for parts of the date.
    private static func plainText(of variable: Variable, _ values: PathValues) -> String? {
        switch variable {
        case .vhost: values.key.vhost
        case .app: values.key.app
        case .stream: values.key.name
        case .timestamp: String(values.unixMillis)
        case .sequence: String(values.sequence)
        case .duration: String(values.durationMillis)
        case .epoch: String(values.epoch)
        case .track: values.track
        case .suffix: values.suffix
        case .year, .month, .day, .hour, .minute, .second, .millisecond: nil
        }
    }

    private static func check(_ path: String) throws(PathPatternError) {
        guard path.utf8.count <= self.maximumLength else { throw .tooLong(length: path.utf8.count) }
        guard path.utf8.first != UInt8(ascii: "/") else { throw .absolute }
        guard !path.utf8.contains(0) else { throw .forbiddenComponent("\\0") }
        for component in path.split(separator: "/", omittingEmptySubsequences: false) {
            guard !component.isEmpty, component != ".", component != ".." else {
                throw .forbiddenComponent(String(component))
            }
            guard component.utf8.count <= self.maximumComponentLength else {
                throw .componentTooLong(length: component.utf8.count)
            }
        }
    }
}

/// What the variables of a pattern stand for.
package struct PathValues: Sendable, Hashable {
    package var key: StreamKey
    /// The time of the file's first frame, for the date parts and `[timestamp]`.
    package var unixMillis: Int64
    package var sequence: UInt64
    package var durationMillis: Int64
    package var epoch: UInt64
    /// `[track]`.
    package var track: String
    /// `[ext]`.
    package var suffix: String

    package init(
        key: StreamKey, unixMillis: Int64, sequence: UInt64 = 0, durationMillis: Int64 = 0, epoch: UInt64 = 0,
        track: String = "main", suffix: String
    ) {
        self.key = key
        self.unixMillis = unixMillis
        self.sequence = sequence
        self.durationMillis = durationMillis
        self.epoch = epoch
        self.track = track
        self.suffix = suffix
    }
}

/// What is wrong with a pattern, or with a path that it made.
package enum PathPatternError: Error, Equatable {
    case empty
    /// The variable's name without brackets.
    case unknownVariable(String)
    /// A bracket at this byte is never closed.
    case unfinishedVariable(offset: Int)
    /// It begins with `/`: paths are relative to the root folder.
    case absolute
    /// A component that is empty, `.` or `..`, or holds a NUL byte.
    case forbiddenComponent(String)
    case tooLong(length: Int)
    case componentTooLong(length: Int)
}

extension PathPatternError: CustomStringConvertible {
    /// Says what an operator has to change.
    package var description: String {
        switch self {
        case .empty: "a path pattern must not be empty"
        case .unknownVariable(let name):
            "[\(name)] is no variable of path patterns; known are "
                + PathPattern.Variable.allCases.map { "[\($0.rawValue)]" }.joined(separator: " ")
        case .unfinishedVariable(let offset): "the bracket at byte \(offset) is never closed"
        case .absolute: "a path pattern is relative to its root folder and must not begin with /"
        case .forbiddenComponent(let component): "\"\(component)\" must not be a component of a path"
        case .tooLong(let length): "\(length) bytes are too long, the limit is \(PathPattern.maximumLength)"
        case .componentTooLong(let length):
            "a file name of \(length) bytes is too long, the limit is \(PathPattern.maximumComponentLength)"
        }
    }
}

/// The date parts of a time.
private struct CalendarDate {
    private let year: Int64
    private let month: Int64
    private let day: Int64
    private let hour: Int64
    private let minute: Int64
    private let second: Int64
    private let millisecond: Int64

    init(unixMillis: Int64, clock: PathPattern.Clock) {
        let (quotient, remainder) = unixMillis.quotientAndRemainder(dividingBy: 1_000)
        self.millisecond = remainder < 0 ? remainder + 1_000 : remainder
        var seconds = time_t(remainder < 0 ? quotient - 1 : quotient)
        var parts = unsafe tm()
        // Safety: both functions read the seconds and fill the parts, which are local.
        switch clock {
        case .utc: _ = unsafe gmtime_r(&seconds, &parts)
        case .local: _ = unsafe localtime_r(&seconds, &parts)
        }
        self.year = unsafe Int64(parts.tm_year) + 1_900
        self.month = unsafe Int64(parts.tm_mon) + 1
        self.day = unsafe Int64(parts.tm_mday)
        self.hour = unsafe Int64(parts.tm_hour)
        self.minute = unsafe Int64(parts.tm_min)
        self.second = unsafe Int64(parts.tm_sec)
    }

    func text(of variable: PathPattern.Variable) -> String {
        switch variable {
        case .year: Self.digits(self.year, 4)
        case .month: Self.digits(self.month, 2)
        case .day: Self.digits(self.day, 2)
        case .hour: Self.digits(self.hour, 2)
        case .minute: Self.digits(self.minute, 2)
        case .second: Self.digits(self.second, 2)
        default: Self.digits(self.millisecond, 3)
        }
    }

    private static func digits(_ value: Int64, _ width: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }
}
