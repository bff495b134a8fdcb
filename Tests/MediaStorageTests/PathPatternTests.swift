import Glibc
import Media
import Testing

@testable import MediaStorage

@Suite("Path patterns")
struct PathPatternTests {
    /// 2026-02-03 04:05:06.007 UTC.
    static let time: Int64 = 1_770_091_506_007

    static func values(app: String = "live", name: String = "game", vhost: String = "example.org") throws -> PathValues
    {
        PathValues(
            key: try StreamKey(vhost: vhost, app: app, name: name), unixMillis: Self.time, sequence: 42,
            durationMillis: 2_000, epoch: 7, track: "video", suffix: "m4s")
    }

    @Test("Every variable has its value")
    func everyVariable() throws {
        let pattern = try PathPattern(
            "[vhost]/[app]/[stream]/[2006]-[01]-[02]/[15].[04].[05].[999]_[timestamp]_[seq]_[duration]_[epoch]_[track].[ext]"
        )
        #expect(pattern.variables == Set(PathPattern.Variable.allCases))
        #expect(
            try pattern.path(for: Self.values())
                == "example.org/live/game/2026-02-03/04.05.06.007_1770091506007_42_2000_7_video.m4s")
    }

    @Test("A pattern without variables is itself")
    func plain() throws {
        #expect(try PathPattern("a/b].ts").path(for: Self.values()) == "a/b].ts")
    }

    @Test("Times before 1970 are dates, too")
    func early() throws {
        var values = try Self.values()
        values.unixMillis = -1
        #expect(try PathPattern("[2006][01][02][15][04][05].[999]").path(for: values) == "19691231235959.999")
    }

    @Test("Local time is the time zone's")
    func localTime() throws {
        let pattern = try PathPattern("[15]", clock: .local)
        var seconds = time_t(Self.time / 1_000)
        var parts = unsafe tm()
        _ = unsafe localtime_r(&seconds, &parts)
        let hour = unsafe Int(parts.tm_hour)
        #expect(try Int(pattern.path(for: Self.values())) == hour)
    }

    @Test(
        "What leads out of the root or names no variable is refused",
        arguments: [
            ("", PathPatternError.empty),
            ("/a", .absolute),
            ("/[app]", .absolute),
            ("../a", .forbiddenComponent("..")),
            ("a/../b", .forbiddenComponent("..")),
            ("a/./b", .forbiddenComponent(".")),
            ("a//b", .forbiddenComponent("")),
            ("a/", .forbiddenComponent("")),
            ("a\0b", .forbiddenComponent("\\0")),
            ("[app]/[strem].ts", .unknownVariable("strem")),
            ("[]", .unknownVariable("")),
            ("[APP]", .unknownVariable("APP")),
            ("ab/[app", .unfinishedVariable(offset: 3)),
            (String(repeating: "a", count: 241), .componentTooLong(length: 241)),
            (String(repeating: "a/", count: 600) + "b", .tooLong(length: 1_201)),
        ])
    func refused(text: String, error: PathPatternError) {
        #expect(throws: error) { try PathPattern(text) }
        #expect(!error.description.isEmpty)
    }

    @Test("Apps of several components make folders, and names that are too long for a file are refused")
    func streamNames() throws {
        let pattern = try PathPattern("[app]/[stream].[ext]")
        #expect(try pattern.path(for: Self.values(app: "live/a", name: "b/c")) == "live/a/b/c.m4s")
        let long = try Self.values(name: String(repeating: "n", count: 250))
        #expect(throws: PathPatternError.componentTooLong(length: 254)) { try pattern.path(for: long) }
        // Two values that are harmless alone.
        var dots = try Self.values()
        dots.track = "."
        dots.suffix = "."
        #expect(throws: PathPatternError.forbiddenComponent("..")) {
            try PathPattern("[track][ext]").path(for: dots)
        }
    }
}
