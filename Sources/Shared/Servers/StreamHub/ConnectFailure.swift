import Glibc
package import NIOCore
import NIOPosix

/// Why a connection to another server could not be made, in words for logs and the API.
package enum ConnectFailure {
    /// Such as "Connection refused" or "no answer within 5 s". Nothing in it is secret.
    package static func text(_ error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError: return Self.text(of: error)
        case ChannelError.connectTimeout(let limit):
            return "no answer within \(Double(limit.nanoseconds / 1_000_000) / 1_000) s"
        case let error as IOError: return error.systemText
        default: return "\(error)"
        }
    }

    /// Of a host with several addresses, each cause once.
    private static func text(of error: NIOConnectionError) -> String {
        var causes: [String] = []
        for failure in error.connectionErrors {
            let cause = Self.text(failure.error)
            if !causes.contains(cause) { causes.append(cause) }
        }
        if causes.isEmpty, error.dnsAError != nil || error.dnsAAAAError != nil { return "unknown host" }
        return causes.isEmpty ? "no address" : causes.joined(separator: ", ")
    }
}

extension IOError {
    /// What the system calls it, such as "Connection refused".
    package var systemText: String {
        // Safety: glibc's text is constant for known numbers, and each thread's own for others.
        unsafe String(cString: strerror(self.errnoCode))
    }
}
