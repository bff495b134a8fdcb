import CSRT
import Logging
import Synchronization

/// The library as a whole, which one process has once.
enum SRTLibrary {
    private static let logger = Mutex<Logger?>(nil)

    /// Made once, at the first socket. It is never taken down: its threads end with the process.
    private static let isStarted: Bool = {
        guard srt_startup() >= 0 else { return false }
        // Safety: the handler is a function that lives as long as the program, and takes no context.
        unsafe srt_setloghandler(nil, srtLibraryLogged)
        srt_setlogflags(
            CInt(SRT_LOGF_DISABLE_TIME | SRT_LOGF_DISABLE_THREADNAME | SRT_LOGF_DISABLE_SEVERITY)
                | CInt(SRT_LOGF_DISABLE_EOL))
        // What it calls errors are mostly peers that do not behave; those are told by whoever meets them.
        srt_setloglevel(LOG_CRIT)
        return true
    }()

    /// Starts the library. What it has to say goes to `logger` from now on.
    static func start(logger: Logger) throws(SRTError) {
        self.logger.withLock { $0 = logger }
        guard self.isStarted else { throw SRTError.last(.startup) }
    }

    fileprivate static func log(_ text: String) {
        self.logger.withLock { $0 }?.error("\(text)")
    }
}

/// Called on the library's threads.
private func srtLibraryLogged(
    _ context: UnsafeMutableRawPointer?, _ level: CInt, _ file: UnsafePointer<CChar>?, _ line: CInt,
    _ area: UnsafePointer<CChar>?, _ message: UnsafePointer<CChar>?
) {
    // Safety: the library passes a text that ends with a zero, which is copied here.
    guard let text = unsafe message.map({ unsafe String(cString: $0) }) else { return }
    SRTLibrary.log(text)
}

/// A call of the library that failed.
package struct SRTError: Error, Equatable {
    package enum Call: String, Sendable {
        case startup, epoll, create, bind, listen, connect, accept, option, address, thread
    }

    package var call: Call
    /// The library's number of the error.
    package var code: Int32
    /// The system's, where it has one.
    package var systemError: Int32

    package init(call: Call, code: Int32, systemError: Int32) {
        self.call = call
        self.code = code
        self.systemError = systemError
    }

    /// The last error of this thread.
    static func last(_ call: Call) -> SRTError {
        var systemError: CInt = 0
        // Safety: the library writes one number to where it is told.
        let code = unsafe srt_getlasterror(&systemError)
        return SRTError(call: call, code: code, systemError: systemError)
    }
}

extension SRTError: CustomStringConvertible {
    package var description: String {
        // Safety: the library returns a text that is its own and ends with a zero; it is copied at once.
        let text = unsafe srt_strerror(self.code, self.systemError).map { unsafe String(cString: $0) } ?? "unknown"
        return "SRT \(self.call.rawValue): \(text)"
    }
}
