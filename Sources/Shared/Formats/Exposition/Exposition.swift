/// Writes metrics as text that Prometheus and its relatives read.
///
/// Each family is written once, with its help, its type and all of its samples, in one piece. Names are ours and are
/// checked by preconditions; label values and help may hold anything and are escaped. The text ends with `finish()`.
///
/// Spec: Prometheus exposition formats, "Text format details"; OpenMetrics 1.0.0.
package struct Exposition: Sendable {
    /// Takes the samples of one family.
    package struct Samples {
        fileprivate let name: String
        fileprivate let type: MetricType
        fileprivate let format: ExpositionFormat
        fileprivate var text = ""
        /// Samples that were written, a histogram as one for each line.
        package fileprivate(set) var count = 0

        /// Adds one sample of a counter, gauge or info. A counter that is not a number, or below 0, is left out.
        package mutating func add(_ value: Double, _ labels: [MetricLabel] = []) {
            precondition(self.type != .histogram, "\(self.name) is a histogram")
            if self.type == .counter, !(value >= 0) { return }
            self.line("", labels, nil, Exposition.number(value))
        }

        package mutating func add(_ value: Int, _ labels: [MetricLabel] = []) {
            precondition(self.type != .histogram, "\(self.name) is a histogram")
            if self.type == .counter, value < 0 { return }
            self.line("", labels, nil, "\(value)")
        }

        package mutating func add(_ value: UInt64, _ labels: [MetricLabel] = []) {
            precondition(self.type != .histogram, "\(self.name) is a histogram")
            self.line("", labels, nil, "\(value)")
        }

        /// Adds one histogram: its buckets, cumulative, its sum and its count.
        package mutating func add(_ histogram: MetricHistogram, _ labels: [MetricLabel] = []) {
            precondition(self.type == .histogram, "\(self.name) is no histogram")
            var cumulative: UInt64 = 0
            for (bound, count) in zip(histogram.bounds, histogram.counts) {
                cumulative &+= count
                self.line("_bucket", labels, Exposition.number(bound, isBound: true), "\(cumulative)")
            }
            self.line("_bucket", labels, "+Inf", "\(histogram.count)")
            self.line("_sum", labels, nil, Exposition.number(histogram.sum))
            self.line("_count", labels, nil, "\(histogram.count)")
        }

        private mutating func line(_ suffix: String, _ labels: [MetricLabel], _ bound: String?, _ value: String) {
            self.text += self.name
            self.text += suffix
            var separator = "{"
            for label in labels {
                self.text += separator
                self.text += label.name
                self.text += "=\""
                Exposition.escape(label.value, quotes: true, into: &self.text)
                self.text += "\""
                separator = ","
            }
            if let bound {
                self.text += "\(separator)le=\"\(bound)\""
                separator = ","
            }
            if separator == "," { self.text += "}" }
            self.text += " \(value)\n"
            self.count += 1
        }
    }

    package let format: ExpositionFormat
    private var text = ""
    private var names: Set<String> = []
    /// Samples that were written.
    package private(set) var sampleCount = 0

    package init(format: ExpositionFormat = .prometheus) {
        self.format = format
    }

    /// Writes a family whose samples `body` adds; nothing at all when it adds none.
    ///
    /// Names: counters end in `_total`, infos in `_info`, others in neither. Each name is used once.
    package mutating func family(
        _ name: String, _ type: MetricType, _ help: String, _ body: (inout Samples) -> Void
    ) {
        precondition(MetricSyntax.isMetricName(name), "\(name) cannot be the name of a metric")
        precondition(
            (type == .counter) == name.hasSuffix("_total") && (type == .info) == name.hasSuffix("_info"),
            "\(name) does not end as the name of a \(type.rawValue) does")
        precondition(self.names.insert(name).inserted, "\(name) is written twice")
        var samples = Samples(name: name, type: type, format: self.format)
        body(&samples)
        guard samples.count > 0 else { return }
        let (shownName, shownType) = self.header(name, type)
        self.text += "# HELP \(shownName) "
        Self.escape(help, quotes: self.format == .openMetrics, into: &self.text)
        self.text += "\n# TYPE \(shownName) \(shownType)\n"
        self.text += samples.text
        self.sampleCount += samples.count
    }

    /// A family with one sample and no labels.
    package mutating func value(_ name: String, _ type: MetricType, _ help: String, _ value: Double) {
        self.family(name, type, help) { $0.add(value) }
    }

    package mutating func value(_ name: String, _ type: MetricType, _ help: String, _ value: Int) {
        self.family(name, type, help) { $0.add(value) }
    }

    package mutating func value(_ name: String, _ type: MetricType, _ help: String, _ value: UInt64) {
        self.family(name, type, help) { $0.add(value) }
    }

    /// The whole text.
    package consuming func finish() -> String {
        self.format == .openMetrics ? self.text + "# EOF\n" : self.text
    }

    /// OpenMetrics names the family without the suffix of its samples, and knows infos.
    private func header(_ name: String, _ type: MetricType) -> (name: String, type: String) {
        switch (self.format, type) {
        case (.openMetrics, .counter): (String(name.dropLast("_total".utf8.count)), "counter")
        case (.openMetrics, .info): (String(name.dropLast("_info".utf8.count)), "info")
        case (.prometheus, .info): (name, "gauge")
        default: (name, type.rawValue)
        }
    }

    fileprivate static func escape(_ value: String, quotes: Bool, into text: inout String) {
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\"" where quotes: text += "\\\""
            default: text.unicodeScalars.append(scalar)
            }
        }
    }

    /// Whole numbers without a fraction, but bounds always with one, as OpenMetrics writes them.
    fileprivate static func number(_ value: Double, isBound: Bool = false) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        if !isBound, let whole = Int64(exactly: value), abs(whole) < 1 << 53 { return "\(whole)" }
        return "\(value)"
    }
}
