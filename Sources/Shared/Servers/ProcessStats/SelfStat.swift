/// The fields of `/proc/self/stat`, in the order in which the kernel writes them. Spec: proc(5).
package struct SelfStat: Sendable, Hashable {
    /// Names of the fields after `pid`, `comm` and `state`, as proc(5) and SRS's API have them.
    package static let fieldNames = [
        "ppid", "pgrp", "session", "tty_nr", "tpgid", "flags", "minflt", "cminflt", "majflt", "cmajflt", "utime",
        "stime", "cutime", "cstime", "priority", "nice", "num_threads", "itrealvalue", "starttime", "vsize", "rss",
        "rsslim", "startcode", "endcode", "startstack", "kstkesp", "kstkeip", "signal", "blocked", "sigignore",
        "sigcatch", "wchan", "nswap", "cnswap", "exit_signal", "processor", "rt_priority", "policy",
        "delayacct_blkio_ticks", "guest_time", "cguest_time",
    ]

    package let pid: Int64
    /// The program's name without parentheses.
    package let comm: String
    /// One letter.
    package let state: String
    /// By `fieldNames`; fields that this kernel does not tell are 0. Numbers beyond `Int64.max`, such as an unlimited
    /// `rsslim`, are `Int64.max`.
    package let fields: [Int64]

    /// `nil` unless the text has a process id, a name in parentheses and a state. The name may hold anything, even
    /// parentheses and white space.
    package init?(_ text: String) {
        guard let open = text.firstIndex(of: "("), let close = text.lastIndex(of: ")"), open < close,
            let pid = Int64(text[..<open].filter { !$0.isWhitespace })
        else { return nil }
        let rest = text[text.index(after: close)...].split(whereSeparator: \.isWhitespace)
        guard let state = rest.first, state.utf8.count == 1 else { return nil }
        self.pid = pid
        self.comm = String(text[text.index(after: open)..<close])
        self.state = String(state)
        let numbers = rest.dropFirst().prefix(Self.fieldNames.count).map { field in
            Int64(field) ?? (UInt64(field) == nil ? 0 : Int64.max)
        }
        self.fields = numbers + Array(repeating: 0, count: Self.fieldNames.count - numbers.count)
    }

    /// A field by its name in proc(5).
    package func field(_ name: String) -> Int64? {
        Self.fieldNames.firstIndex(of: name).map { self.fields[$0] }
    }

    /// Ticks in user and system mode.
    package var ticks: Int64 { (self.field("utime") ?? 0) &+ (self.field("stime") ?? 0) }

    static func read() -> SelfStat? { ProcText.read("/proc/self/stat").flatMap { SelfStat($0) } }
}
