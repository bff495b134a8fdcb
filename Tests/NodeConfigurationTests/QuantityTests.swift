import NIOCore
import Testing

@testable import NodeConfiguration

@Suite("Quantities")
struct QuantityTests {
    @Test(
        "a duration is a number and a unit",
        arguments: [
            ("350ms", TimeAmount.milliseconds(350)), ("10s", .seconds(10)), ("1.5s", .milliseconds(1_500)),
            ("0s", .zero), ("5min", .minutes(5)), ("5m", .minutes(5)), ("2h", .hours(2)), ("7d", .hours(168)),
            ("10 s", .seconds(10)), ("250us", .microseconds(250)), ("9223372036854775807ns", .nanoseconds(.max)),
        ])
    func durations(text: String, expected: TimeAmount) throws {
        #expect(try DurationText.parse(text) == expected)
    }

    @Test(
        "a duration without a unit, with an unknown one, negative, fractional in nanoseconds or too long is refused",
        arguments: [
            "", "10", "s", "10x", "-1s", "1.s", ".5s", "1.2.3s", "0.5ns", "1e3s", "9223372036854775808ns",
            "999999999999d", "10S", "1.1234567891s", "١s",
        ])
    func badDurations(text: String) {
        #expect(throws: ValueProblem.self) { try DurationText.parse(text) }
    }

    @Test(
        "a written duration reads back as the same", arguments: [0, 1, 999, 1_000_000, 1_500_000_000, 60_000_000_000])
    func durationRoundTrip(nanoseconds: Int64) throws {
        let amount = TimeAmount.nanoseconds(nanoseconds)
        #expect(try DurationText.parse(DurationText.write(amount)) == amount)
    }

    @Test("a duration is written in the largest unit without a fraction")
    func writtenDurations() {
        #expect(DurationText.write(.milliseconds(350)) == "350ms")
        #expect(DurationText.write(.milliseconds(1_500)) == "1500ms")
        #expect(DurationText.write(.seconds(90)) == "90s")
        #expect(DurationText.write(.hours(7 * 24)) == "7d")
        #expect(DurationText.write(.hours(36)) == "36h")
    }

    @Test(
        "a size is bytes, or has a binary or decimal unit",
        arguments: [
            ("4096", 4_096), ("0", 0), ("8MiB", 8 << 20), ("512KiB", 512 << 10), ("1GiB", 1 << 30), ("2MB", 2_000_000),
            ("3kB", 3_000), ("1.5MiB", 1_572_864), ("8mib", 8 << 20), ("100B", 100), ("8 MiB", 8 << 20),
        ])
    func sizes(text: String, expected: Int) throws {
        #expect(try SizeText.parse(text) == expected)
    }

    @Test(
        "a size that is negative, fractional in bytes, too large or in an unknown unit is refused",
        arguments: ["", "MiB", "-1", "1.5", "0.3KiB", "8Mi", "8M", "9223372036854775808", "8589934592GiB", "1_000"])
    func badSizes(text: String) {
        #expect(throws: ValueProblem.self) { try SizeText.parse(text) }
    }

    @Test("a written size reads back as the same", arguments: [0, 1, 1_023, 1_024, 60_000, 8 << 20, 3 << 30])
    func sizeRoundTrip(bytes: Int) throws {
        #expect(try SizeText.parse(SizeText.write(bytes)) == bytes)
    }

    @Test("a secret shows itself in no description")
    func secrets() {
        let secret = Secret("hunter2")
        #expect(secret.value == "hunter2")
        #expect(!"\(secret)".contains("hunter2"))
        #expect(!String(reflecting: secret).contains("hunter2"))
        var dumped = ""
        var settings = NodeSettings(role: .origin)
        settings.api.token = secret
        dump(settings, to: &dumped)
        #expect(!dumped.contains("hunter2"))
        #expect(dumped.contains("<redacted>"))
    }
}
