import CLibAV
import Glibc
import Logging
import NIOCore
import Synchronization

/// Takes libav's messages, which would go to the standard error stream, to our log.
///
/// Only errors, at level `debug` and at most one a second: a broken stream has many, and what matters is in the errors
/// of `SnapshotRenderer`. libav has one log for the whole process, so this is its only state that outlives a renderer.
enum LibAVLog {
    private struct State {
        var logger: Logger?
        var nextLine = NIODeadline.uptimeNanoseconds(0)
    }

    private static let state = Mutex(State())

    /// From now on messages go to `logger`.
    static func redirect(to logger: Logger) {
        self.state.withLock { $0.logger = logger }
        // Safety: the callback captures nothing and may be called on any thread.
        unsafe av_log_set_callback { _, level, format, arguments in
            guard level <= AV_LOG_ERROR, let format = unsafe format, let arguments = unsafe arguments,
                let logger = LibAVLog.takeTurn()
            else { return }
            var text = [CChar](repeating: 0, count: 256)
            // Safety: at most the array's length is written, the zero at the end included.
            let count = unsafe vsnprintf(&text, text.count, format, arguments)
            let bytes = text.prefix(max(0, min(Int(count), text.count - 1))).map { UInt8(bitPattern: $0) }
            let line = String(decoding: bytes, as: UTF8.self).filter { !$0.isNewline }
            logger.debug("libav: \(line)")
        }
    }

    /// The logger, once a second.
    private static func takeTurn() -> Logger? {
        self.state.withLock { state in
            let now = NIODeadline.now()
            guard now >= state.nextLine else { return nil }
            state.nextLine = now + .seconds(1)
            return state.logger
        }
    }
}
