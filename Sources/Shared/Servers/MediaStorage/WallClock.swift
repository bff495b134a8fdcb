import Glibc

/// The wall clock in the unit of catalogues and playlists.
package enum WallClock {
    /// Milliseconds since 1970 UTC.
    package static var unixMillis: Int64 {
        var now = timespec()
        // Safety: the function fills the structure, which outlives the call.
        _ = unsafe clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) * 1_000 + Int64(now.tv_nsec) / 1_000_000
    }
}
