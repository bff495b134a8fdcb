import Glibc
import Testing

@testable import MediaStorage

@Suite("The alarm of a disk")
struct StorageAlarmTests {
    private static let second: UInt64 = 1_000_000_000

    @Test("One line when it is raised, one a minute, one when it is over")
    func lines() {
        var alarm = StorageAlarm()
        #expect(alarm.failed(.diskFull, now: 0, unixMillis: 5) == .raised(.diskFull))
        var lines: [StorageAlarm.Report] = []
        for tenth in 1...1_500 {
            if let line = alarm.failed(.diskFull, now: UInt64(tenth) * Self.second / 10, unixMillis: 6) {
                lines.append(line)
            }
        }
        #expect(lines == [.lasting(.diskFull, failures: 600), .lasting(.diskFull, failures: 600)])
        #expect(alarm.error == .diskFull)
        #expect(alarm.sinceUnixMillis == 5)
        #expect(alarm.failures == 1_501)
        #expect(alarm.succeeded(now: 160 * Self.second) == .cleared(.diskFull, failures: 1_501))
        #expect(alarm.error == nil)
        #expect(alarm.succeeded(now: 161 * Self.second) == nil)
    }

    @Test("Small files that still fit between failures do not clear it")
    func mixedResults() {
        var alarm = StorageAlarm()
        _ = alarm.failed(.diskFull, now: 0, unixMillis: 0)
        for second in 1...20 {
            let now = UInt64(second) * Self.second
            #expect(alarm.succeeded(now: now + 1) == nil)
            _ = alarm.failed(.diskFull, now: now + 2, unixMillis: 0)
        }
        #expect(!alarm.mayClear(now: 24 * Self.second))
        #expect(alarm.mayClear(now: 26 * Self.second))
    }

    @Test("Another cause is told at once, but a full queue hides no cause")
    func causes() {
        var alarm = StorageAlarm()
        _ = alarm.failed(.queueFull, now: 0, unixMillis: 0)
        #expect(alarm.failed(.readOnly, now: 1, unixMillis: 0) == .changed(.readOnly))
        #expect(alarm.failed(.queueFull, now: 2, unixMillis: 0) == nil)
        #expect(alarm.error == .readOnly)
    }

    @Test("A file that exists is no matter of the disk")
    func notTheDisk() {
        var alarm = StorageAlarm()
        #expect(alarm.failed(.exists, now: 0, unixMillis: 0) == nil)
        #expect(alarm.error == nil)
    }

    @Test("It is reminded of also when nothing is written")
    func reminder() {
        var alarm = StorageAlarm()
        #expect(alarm.timePassed(now: 100 * Self.second) == nil)
        _ = alarm.failed(.permission, now: 0, unixMillis: 0)
        #expect(alarm.timePassed(now: 59 * Self.second) == nil)
        #expect(alarm.timePassed(now: 60 * Self.second) == .lasting(.permission, failures: 0))
        #expect(alarm.timePassed(now: 61 * Self.second) == nil)
    }

    @Test(
        "Error numbers are sorted",
        arguments: [
            (ENOSPC, StorageError.diskFull), (EDQUOT, .diskFull), (EROFS, .readOnly), (EACCES, .permission),
            (EPERM, .permission), (ENOENT, .missing), (ENOTDIR, .missing), (EEXIST, .exists), (EIO, .system(code: EIO)),
        ])
    func sorted(code: Int32, error: StorageError) {
        #expect(StorageError(code: code) == error)
        #expect(!error.description.isEmpty && !error.label.isEmpty)
    }
}
