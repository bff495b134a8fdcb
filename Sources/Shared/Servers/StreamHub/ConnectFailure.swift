import Glibc
package import NIOCore
import NIOPosix

/// Why a connection to another server could not be made, or broke, in words for logs and the API.
package enum ConnectFailure {
    /// Such as "Connection refused", "Name or service not known" or "no answer within 5 s". Errors of libraries, as of TLS,
    /// are told as the library does.
    package static func text(_ error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError: return Self.text(of: error)
        case ChannelError.connectTimeout(let limit):
            let millis = limit.nanoseconds / 1_000_000
            return millis % 1_000 == 0 ? "no answer within \(millis / 1_000) s" : "no answer within \(millis) ms"
        case let error as IOError: return error.systemText
        case let error as SocketAddressError.UnknownHost: return error.errorDescription
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
        // There was no address to try.
        if causes.isEmpty, let cause = error.dnsAError ?? error.dnsAAAAError { causes = [Self.text(cause)] }
        return causes.isEmpty ? "the host has no address" : causes.joined(separator: ", ")
    }
}

extension IOError {
    /// What the system calls it, such as "Connection refused".
    package var systemText: String {
        // Safety: glibc's text is constant for known numbers, and each thread's own for others.
        unsafe String(cString: strerror(self.errnoCode))
    }
}
