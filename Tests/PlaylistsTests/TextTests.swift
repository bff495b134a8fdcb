import NIOCore
import Testing

@testable import Playlists

@Suite struct TextTests {
    private static func text(_ write: (inout ByteBuffer) -> Void) -> String {
        var buffer = ByteBuffer()
        write(&buffer)
        return String(buffer: buffer)
    }

    static let decimalCases: [(UInt64, Int, String)] = [
        (0, 1, "0"), (9, 1, "9"), (10, 1, "10"), (0, 3, "000"), (7, 2, "07"), (1234, 2, "1234"),
        (UInt64.max, 1, "18446744073709551615"), (10_000_000_000_000_000_000, 1, "10000000000000000000"),
    ]

    @Test("Numbers have as many digits as they need", arguments: Self.decimalCases)
    func decimal(value: UInt64, digits: Int, wanted: String) {
        #expect(Self.text { $0.writeDecimal(value, minimumDigits: digits) } == wanted)
    }

    @Test("A count below 0 is written as 0")
    func negative() {
        #expect(Self.text { $0.writeDecimal(-5) } == "0")
    }

    static let secondCases: [(Int64, String)] = [
        (0, "0.000"), (1, "0.000001"), (200_000, "0.200"), (1_999_999, "1.999999"), (2_000_100, "2.0001"),
        (2_000_010, "2.00001"), (86_400_000_000, "86400.000"), (Int64.max, "9223372036854.775807"), (-1, "0.000"),
    ]

    @Test("Seconds have 3 decimals, or as many as the microseconds need", arguments: Self.secondCases)
    func seconds(micros: Int64, wanted: String) {
        #expect(Self.text { $0.writeSeconds(PlaylistDuration(micros: micros)) } == wanted)
    }

    static let dateCases: [(Int64, String)] = [
        (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"), (951_868_799_999, "2000-02-29T23:59:59.999Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"), (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (4_107_542_399_999, "2100-02-28T23:59:59.999Z"), (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
        (-2_203_891_200_000, "1900-03-01T00:00:00.000Z"), (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (Int64.max, "9999-12-31T23:59:59.999Z"), (Int64.min, "0001-01-01T00:00:00.000Z"),
    ]

    @Test("Dates are Gregorian", arguments: Self.dateCases)
    func dates(millis: Int64, wanted: String) {
        #expect(Self.text { $0.writeDateTime(millis: millis) } == wanted)
    }

    static let tickCases: [(Int64, Int64, Int64)] = [
        (90_000, 90_000, 1_000_000), (3003, 90_000, 33_367), (1024, 44_100, 23_220),
        (1024, 48_000, 21_333),
        (-5, 90_000, 0), (1, 2_000_000, 1), (1, 2_000_001, 0), (Int64.max, 1, Int64.max),
        (Int64.max, Int64.max, 1_000_000),
    ]

    @Test("Durations of ticks are rounded to the nearest microsecond", arguments: Self.tickCases)
    func ticks(ticks: Int64, timescale: Int64, micros: Int64) {
        #expect(PlaylistDuration(ticks: ticks, timescale: timescale).micros == micros)
    }

    @Test("A day of segments of 44.1 kHz audio adds up to a day, but for a part of a millisecond per thousand")
    func noDrift() {
        var sum = PlaylistDuration.zero
        var samples: Int64 = 0
        for segment in 0..<43_200 as Range<Int64> {
            let next = ((segment + 1) * 2 * 44_100 + 1023) / 1024 * 1024
            sum += PlaylistDuration(ticks: next - samples, timescale: 44_100)
            samples = next
        }
        let exact = PlaylistDuration(ticks: samples, timescale: 44_100)
        #expect(abs(sum.micros - exact.micros) < 20_000)
    }

    @Test("Arithmetic stays in range")
    func arithmetic() {
        let most = PlaylistDuration(micros: .max)
        #expect(most + most == most)
        #expect(most * 2 == most)
        #expect(most * -2 == .zero)
        #expect(PlaylistDuration(millis: 200) * 3 == PlaylistDuration(millis: 600))
        #expect(PlaylistDuration(millis: .max) == most)
        #expect(PlaylistDuration(millis: .min) == .zero)
        #expect(PlaylistDuration(millis: 1) < PlaylistDuration(millis: 2))
        #expect(PlaylistDuration(millis: 2499).roundedSeconds == 2)
        #expect(PlaylistDuration(millis: 2500).roundedSeconds == 3)
    }

    @Test(
        "Names become path segments",
        arguments: [
            ("game", "game"), ("a/b_c-d.e~f", "a/b_c-d.e~f"), ("a:b", "a%3Ab"), ("$Number$", "%24Number%24"),
            ("é?", "%C3%A9%3F"), ("100%", "100%25"), ("", ""),
        ])
    func relativeURI(name: String, wanted: String) {
        #expect(RelativeURI.encode(path: name) == wanted)
    }
}
