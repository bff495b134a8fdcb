/// How metrics are written: Prometheus's text format, or OpenMetrics.
///
/// The two differ in how counters are named, in what ends the text, and in what is escaped.
package enum ExpositionFormat: Sendable, Hashable, CaseIterable {
    /// Prometheus text format 0.0.4.
    case prometheus
    /// OpenMetrics 1.0.0.
    case openMetrics

    /// The value of `Content-Type`.
    package var contentType: String {
        switch self {
        case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
        case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
        }
    }

    /// The format that `Accept` prefers; Prometheus's own without a header, or when OpenMetrics is not named in it, or is
    /// refused by `q=0`, or is liked less than plain text.
    package init(accept: String?) {
        var openMetrics = 0.0
        var text = 0.0
        for part in (accept ?? "").split(separator: ",").prefix(32) {
            let fields = part.split(separator: ";").map { $0.filter { $0 != " " && $0 != "\t" }.lowercased() }
            guard let type = fields.first else { continue }
            let quality = fields.dropFirst().first { $0.hasPrefix("q=") }.flatMap { Double($0.dropFirst(2)) } ?? 1
            switch type {
            case "application/openmetrics-text": openMetrics = max(openMetrics, quality)
            case "text/plain": text = max(text, quality)
            default: break
            }
        }
        self = openMetrics > 0 && openMetrics >= text ? .openMetrics : .prometheus
    }
}

/// What a family of metrics measures. Counters only grow; their names end in `_total`.
package enum MetricType: String, Sendable, Hashable, CaseIterable {
    case counter, gauge, histogram
    /// A gauge that is always 1 and whose labels say something; its name ends in `_info`.
    case info
}

/// One label of a sample. The name is ours; the value is escaped when it is written, whatever it holds.
package struct MetricLabel: Sendable, Hashable {
    package let name: String
    package let value: String

    /// The name matches `[a-zA-Z_][a-zA-Z0-9_]*`, and is not `le`, which histograms write themselves.
    package init(_ name: String, _ value: String) {
        precondition(MetricSyntax.isLabelName(name) && name != "le", "\(name) cannot be the name of a label")
        self.name = name
        self.value = value
    }
}

/// Which names metrics and labels may have. Spec: OpenMetrics 1.0.0, "ABNF".
package enum MetricSyntax {
    /// Whether a metric may have this name.
    package static func isMetricName(_ name: String) -> Bool {
        self.isName(name) { $0 == UInt8(ascii: ":") }
    }

    /// Whether a label may have this name. Names that begin with two underscores are the scraper's own.
    package static func isLabelName(_ name: String) -> Bool {
        !name.hasPrefix("__") && self.isName(name) { _ in false }
    }

    private static func isName(_ name: String, _ isMore: (UInt8) -> Bool) -> Bool {
        guard !name.isEmpty else { return false }
        for (offset, byte) in name.utf8.enumerated() {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"):
                continue
            case UInt8(ascii: "0")...UInt8(ascii: "9") where offset > 0: continue
            case _ where isMore(byte): continue
            default: return false
            }
        }
        return true
    }
}
