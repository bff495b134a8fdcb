import Glibc

/// The monotonic clock in nanoseconds: the one clock of the load generators.
package func monotonicNanos() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Why a system call failed, with its `errno`.
package struct SystemError: Error, Equatable, CustomStringConvertible {
    package let call: String
    package let code: Int32

    /// Captures `errno` right after `call` failed.
    package init(_ call: String) {
        self.call = call
        self.code = errno
    }

    package var description: String { "\(self.call): \(systemErrorText(self.code))" }
}

/// The kernel's words for an `errno`.
package func systemErrorText(_ code: Int32) -> String {
    // Safety: `strerror` gives a terminated string, which is copied before anything else runs in this one thread.
    unsafe String(cString: strerror(code))
}
