import Foundation
import Glibc
import Logging
import Synchronization

/// One line an event on standard error: time, level, message and metadata, as text or JSON.
struct LineLogHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    /// The program's level, unless a logger has one of its own.
    var logLevel: Logger.Level {
        get { self.ownLevel ?? self.level.value }
        set { self.ownLevel = newValue }
    }
    private let label: String
    private let isJSON: Bool
    private let level: LogLevel
    private var ownLevel: Logger.Level?
    private static let output = Mutex<Void>(())

    init(label: String, isJSON: Bool, level: LogLevel) {
        self.label = label
        self.isJSON = isJSON
        self.level = level
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = self.metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
        let now = Date()
        let line =
            self.isJSON
            // Who collects lines needs the day, too.
            ? self.json(event, now.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)), fields)
            : self.text(event, now.formatted(.iso8601.time(includingFractionalSeconds: true)), fields)
        let bytes = Array((line + "\n").utf8)
        Self.output.withLock { _ in
            var start = 0
            while start < bytes.count {
                let written = unsafe bytes[start...].withUnsafeBytes { unsafe write(2, $0.baseAddress, $0.count) }
                guard written > 0 else { return }
                start += written
            }
        }
    }

    private func text(_ event: LogEvent, _ time: String, _ fields: [(key: String, value: Logger.MetadataValue)])
        -> String
    {
        var line = "\(time) \(event.level.rawValue) \(self.label): \(Self.oneLine("\(event.message)"))"
        for (key, value) in fields {
            let text = Self.oneLine("\(value)")
            line += text.contains(" ") ? " \(key)=\"\(text)\"" : " \(key)=\(text)"
        }
        return line
    }

    private func json(_ event: LogEvent, _ time: String, _ fields: [(key: String, value: Logger.MetadataValue)])
        -> String
    {
        var object = Dictionary(fields.map { ($0.key, "\($0.value)") }) { $1 }
        object["time"] = time
        object["level"] = event.level.rawValue
        object["label"] = self.label
        object["message"] = "\(event.message)"
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let data = (try? encoder.encode(object)) ?? Data()
        return String(decoding: data, as: UTF8.self)
    }

    /// Peers choose names; a line break in one must not look like another event.
    private static func oneLine(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else { return text }
        return String(
            text.unicodeScalars.map { scalar in
                scalar.value < 0x20 || scalar.value == 0x7F ? "\u{FFFD}" : Character(scalar)
            })
    }
}
