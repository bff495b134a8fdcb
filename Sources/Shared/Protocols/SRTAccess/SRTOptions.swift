/// Options of SRT sockets that differ from the library's defaults.
package struct SRTOptions: Sendable, Hashable {
    private var values: [SRTOption: SRTOptionValue] = [:]

    package init() {}

    /// What is set, in the order in which it has to be set: `latency` stands before the two that it includes.
    package var all: [(option: SRTOption, value: SRTOptionValue)] {
        SRTOption.allCases.compactMap { option in self.values[option].map { (option, $0) } }
    }

    package var isEmpty: Bool { self.values.isEmpty }

    package subscript(option: SRTOption) -> SRTOptionValue? { self.values[option] }

    /// Sets an option; `nil` leaves it at what it was without.
    ///
    /// Errors: a value that the option does not take.
    package mutating func set(_ option: SRTOption, to value: SRTOptionValue?) throws(SRTOptionError) {
        guard let value else {
            self.values[option] = nil
            return
        }
        switch (option.kind, value) {
        case (.flag, .flag): break
        case (.integer(let range), .integer(let number)), (.wide(let range), .integer(let number)):
            guard range ~= number, option.accepts(number) else {
                throw .outOfRange(option, number, allowed: range)
            }
        case (.text(let maximum), .text(let text)):
            guard text.utf8.count <= maximum, option.accepts(text) else {
                throw .unfitText(option, length: text.utf8.count)
            }
        default: throw .wrongKind(option)
        }
        self.values[option] = value
    }

    /// Reads and sets a value as URLs write it: `1`, `true`, `yes` and `on` are flags.
    package mutating func set(_ option: SRTOption, reading text: String) throws(SRTOptionError) {
        switch option.kind {
        case .flag:
            switch text.lowercased() {
            case "1", "true", "yes", "on": try self.set(option, to: .flag(true))
            case "0", "false", "no", "off": try self.set(option, to: .flag(false))
            default: throw .unreadable(option)
            }
        case .integer, .wide:
            if option == .minimumVersion, let version = Self.version(text) {
                return try self.set(option, to: .integer(version))
            }
            guard let number = Int(text) else { throw .unreadable(option) }
            try self.set(option, to: .integer(number))
        case .text: try self.set(option, to: .text(text))
        }
    }

    /// Takes over what `other` has.
    package mutating func merge(_ other: SRTOptions) {
        self.values.merge(other.values) { $1 }
    }

    /// All but some.
    package func without(_ options: Set<SRTOption>) -> SRTOptions {
        var result = SRTOptions()
        result.values = self.values.filter { !options.contains($0.key) }
        return result
    }

    /// Only those of some stages.
    package func filtered(_ stages: Set<SRTOption.Stage>) -> SRTOptions {
        var result = SRTOptions()
        result.values = self.values.filter { stages.contains($0.key.stage) }
        return result
    }

    /// `1.3.0` as the library numbers it.
    private static func version(_ text: String) -> Int? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        guard parts.count == 3, let major = parts[0], let minor = parts[1], let patch = parts[2] else { return nil }
        return Int(major) << 16 | Int(minor) << 8 | Int(patch)
    }
}

extension SRTOption {
    fileprivate func accepts(_ number: Int) -> Bool {
        switch self {
        case .keyLength: [0, 16, 24, 32].contains(number)
        case .ipv6Only: number == 0 || number == 1
        default: true
        }
    }

    fileprivate func accepts(_ text: String) -> Bool {
        guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { return false }
        switch self {
        case .passphrase: return text.isEmpty || text.utf8.count >= 10
        case .congestion: return text == "live"
        default: return true
        }
    }
}

/// Why a value is none for an option. Texts are not told: some are secret.
package enum SRTOptionError: Error, Equatable {
    case outOfRange(SRTOption, Int, allowed: ClosedRange<Int>)
    /// Too long, too short, or of bytes that it cannot have.
    case unfitText(SRTOption, length: Int)
    case wrongKind(SRTOption)
    case unreadable(SRTOption)
}

extension SRTOptionError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .outOfRange(let option, let value, let allowed):
            "\(option.rawValue) cannot be \(value): it is \(option.hint ?? "\(allowed.lowerBound) to \(allowed.upperBound)")"
        case .unfitText(let option, let length):
            "\(option.rawValue) has \(length) bytes; it is \(option.hint ?? "printable and shorter")"
        case .wrongKind(let option), .unreadable(let option):
            "\(option.rawValue) is \(option.hint ?? option.kind.word)"
        }
    }
}

extension SRTOption {
    fileprivate var hint: String? {
        switch self {
        case .keyLength: "0, 16, 24 or 32"
        case .passphrase: "10 to 79 printable characters, or none"
        case .congestion: "live"
        case .ipv6Only: "0 or 1"
        case .minimumVersion: "a version, such as 1.3.0"
        default: nil
        }
    }
}

extension SRTOption.Kind {
    fileprivate var word: String {
        switch self {
        case .flag: "1 or 0"
        case .integer(let range), .wide(let range): "\(range.lowerBound) to \(range.upperBound)"
        case .text(let maximum): "a text of at most \(maximum) bytes"
        }
    }
}
