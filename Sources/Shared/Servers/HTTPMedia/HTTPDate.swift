import Glibc
import Synchronization

/// The value of `Date`. Spec: RFC 9110 §5.6.7.
enum HTTPDate {
    private static let newest = Mutex<(second: Int, text: String)>((-1, ""))

    /// The text for now, made once a second.
    static var now: String {
        let second = time(nil)
        return self.newest.withLock { newest in
            if newest.second != second { newest = (second, self.text(ofUnixSeconds: second)) }
            return newest.text
        }
    }

    static func text(ofUnixSeconds seconds: Int) -> String {
        let days = Int((Double(seconds) / 86_400).rounded(.down))
        let second = seconds - days * 86_400
        // Days since 0000-03-01, in eras of 400 years; a year begins in March, so a leap day is its last.
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let weekday = weekdays[(days % 7 + 7) % 7]
        let clock = [second / 3_600, second / 60 % 60, second % 60].map(self.twoDigits).joined(separator: ":")
        return "\(weekday), \(self.twoDigits(day)) \(months[month - 1]) \(year) \(clock) GMT"
    }

    private static func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
