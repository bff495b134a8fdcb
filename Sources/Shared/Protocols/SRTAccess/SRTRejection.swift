/// Why a peer that wants to connect by SRT is turned away, as the code that its handshake is answered with.
///
/// The codes are HTTP's, raised by 1000. Spec: SRT access control guidelines, "Error codes".
package enum SRTRejection: Int32, Sendable, Hashable, CaseIterable {
    /// The stream id cannot be understood.
    case badRequest = 1_400
    /// No valid credentials.
    case unauthorized = 1_401
    /// The server takes no more sessions now.
    case overload = 1_402
    case forbidden = 1_403
    /// Nobody publishes the stream.
    case notFound = 1_404
    /// The mode is none that can be served, such as `bidirectional`.
    case badMode = 1_405
    /// Somebody else publishes the stream.
    case conflict = 1_409
    /// The type is none that can be served, such as `file`.
    case unsupportedType = 1_415
    case internalError = 1_500
    /// The server is about to stop.
    case unavailable = 1_503
}
