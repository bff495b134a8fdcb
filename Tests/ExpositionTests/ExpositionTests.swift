import Exposition
import Testing

@Suite("Text of metrics")
struct ExpositionTests {
    private func text(_ format: ExpositionFormat, _ body: (inout Exposition) -> Void) -> String {
        var exposition = Exposition(format: format)
        body(&exposition)
        return exposition.finish()
    }

    @Test("A counter is named with its suffix in Prometheus's format and without it in OpenMetrics's header")
    func counters() {
        func write(_ exposition: inout Exposition) {
            exposition.family("weir_bytes_total", .counter, "Bytes.") {
                $0.add(7, [MetricLabel("direction", "in")])
                $0.add(UInt64.max, [MetricLabel("direction", "out")])
            }
        }
        #expect(
            self.text(.prometheus, write) == """
                # HELP weir_bytes_total Bytes.
                # TYPE weir_bytes_total counter
                weir_bytes_total{direction="in"} 7
                weir_bytes_total{direction="out"} 18446744073709551615

                """)
        #expect(
            self.text(.openMetrics, write) == """
                # HELP weir_bytes Bytes.
                # TYPE weir_bytes counter
                weir_bytes_total{direction="in"} 7
                weir_bytes_total{direction="out"} 18446744073709551615
                # EOF

                """)
    }

    @Test("An info is a gauge to Prometheus and an info to OpenMetrics")
    func infos() {
        func write(_ exposition: inout Exposition) {
            exposition.family("weir_build_info", .info, "Version.") { $0.add(1, [MetricLabel("version", "1.2")]) }
        }
        #expect(
            self.text(.prometheus, write).contains("# TYPE weir_build_info gauge\nweir_build_info{version=\"1.2\"} 1\n")
        )
        #expect(self.text(.openMetrics, write).contains("# TYPE weir_build info\nweir_build_info{version=\"1.2\"} 1\n"))
    }

    @Test(
        "Label values are escaped whatever they hold",
        arguments: [
            ("plain", "plain"), ("a\"b", "a\\\"b"), ("a\\b", "a\\\\b"), ("a\nb", "a\\nb"), ("\\\"\n", "\\\\\\\"\\n"),
            ("é🎥", "é🎥"), ("", ""), ("a} 1\nx 2", "a} 1\\nx 2"), ("\r\n", "\r\\n"),
        ])
    func labels(value: String, escaped: String) {
        let text = self.text(.prometheus) {
            $0.family("weir_x", .gauge, "X.") { $0.add(1, [MetricLabel("v", value)]) }
        }
        #expect(text == "# HELP weir_x X.\n# TYPE weir_x gauge\nweir_x{v=\"\(escaped)\"} 1\n")
    }

    @Test("Help is escaped, quotes in OpenMetrics only")
    func help() {
        func write(_ exposition: inout Exposition) { exposition.value("weir_x", .gauge, "a\\b\n\"c\"", 1) }
        #expect(self.text(.prometheus, write).hasPrefix("# HELP weir_x a\\\\b\\n\"c\"\n"))
        #expect(self.text(.openMetrics, write).hasPrefix("# HELP weir_x a\\\\b\\n\\\"c\\\"\n"))
    }

    @Test(
        "Numbers are written as scrapers read them",
        arguments: [
            (0.0, "0"), (-0.5, "-0.5"), (3.0, "3"), (1e-9, "1e-09"), (1e300, "1e+300"), (.nan, "NaN"),
            (.infinity, "+Inf"), (-.infinity, "-Inf"), (9_007_199_254_740_991, "9007199254740991"),
        ] as [(Double, String)])
    func numbers(value: Double, text: String) {
        #expect(self.text(.prometheus) { $0.value("weir_x", .gauge, "X.", value) }.hasSuffix("weir_x \(text)\n"))
    }

    @Test("A histogram's buckets are cumulative and end with all")
    func histograms() {
        var histogram = MetricHistogram(bounds: [0.1, 1])
        for value in [0.05, 0.1, 0.5, 1, 7, .nan] { histogram.observe(value) }
        #expect(histogram.count == 5)
        #expect(histogram.counts == [2, 2, 1])
        let text = self.text(.openMetrics) {
            $0.family("weir_wait_seconds", .histogram, "Waits.") {
                $0.add(histogram, [MetricLabel("event", "on_play")])
            }
        }
        #expect(
            text == """
                # HELP weir_wait_seconds Waits.
                # TYPE weir_wait_seconds histogram
                weir_wait_seconds_bucket{event="on_play",le="0.1"} 2
                weir_wait_seconds_bucket{event="on_play",le="1.0"} 4
                weir_wait_seconds_bucket{event="on_play",le="+Inf"} 5
                weir_wait_seconds_sum{event="on_play"} 8.65
                weir_wait_seconds_count{event="on_play"} 5
                # EOF

                """)
    }

    @Test("A histogram without labels has its bound alone in braces")
    func bareHistograms() {
        let text = self.text(.prometheus) {
            $0.family("weir_w", .histogram, "W.") { $0.add(MetricHistogram(bounds: [2], counts: [1, 2], sum: 9)) }
        }
        #expect(
            text.hasSuffix("weir_w_bucket{le=\"2.0\"} 1\nweir_w_bucket{le=\"+Inf\"} 3\nweir_w_sum 9\nweir_w_count 3\n"))
    }

    @Test("A family without samples is not written, and counters below 0 are left out")
    func empty() {
        var exposition = Exposition()
        exposition.family("weir_x_total", .counter, "X.") {
            $0.add(-1)
            $0.add(-0.5)
            $0.add(Double.nan)
        }
        #expect(exposition.sampleCount == 0)
        #expect(exposition.finish().isEmpty)
    }

    @Test("Samples are counted, so that a test can bound them")
    func counts() {
        var exposition = Exposition()
        exposition.family("weir_x", .gauge, "X.") { samples in
            for number in 0..<5 { samples.add(number, [MetricLabel("n", "\(number)")]) }
        }
        exposition.value("weir_y", .gauge, "Y.", 1)
        #expect(exposition.sampleCount == 6)
    }

    @Test(
        "Names of metrics and labels are those of the grammar",
        arguments: [
            ("weir_x", true, true), ("a:b", true, false), ("_x", true, true), ("", false, false), ("9a", false, false),
            ("a-b", false, false), ("ä", false, false), ("__name__", true, false), ("a9", true, true),
            ("a b", false, false),
        ])
    func names(name: String, isMetric: Bool, isLabel: Bool) {
        #expect(MetricSyntax.isMetricName(name) == isMetric)
        #expect(MetricSyntax.isLabelName(name) == isLabel)
    }

    @Test(
        "Accept chooses the format",
        arguments: [
            (nil, .prometheus), ("", .prometheus), ("*/*", .prometheus), ("text/plain;version=0.0.4", .prometheus),
            ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", .openMetrics),
            ("Application/OpenMetrics-Text", .openMetrics), ("application/openmetrics-text;q=0", .prometheus),
            ("application/openmetrics-text; q=0.2, text/plain; q=0.9", .prometheus),
            ("application/openmetrics-text;q=nonsense", .openMetrics), (";;,,;q=1", .prometheus),
        ] as [(String?, ExpositionFormat)])
    func accept(header: String?, format: ExpositionFormat) {
        #expect(ExpositionFormat(accept: header) == format)
    }

    @Test("Each format says its content type")
    func contentTypes() {
        #expect(ExpositionFormat.prometheus.contentType == "text/plain; version=0.0.4; charset=utf-8")
        #expect(
            ExpositionFormat.openMetrics.contentType == "application/openmetrics-text; version=1.0.0; charset=utf-8")
    }
}
