package import MediaObjects
package import NIOCore
package import StreamHub

/// Whether a request for a file of a stream is answered, and whose it is: the account that gets its bytes, `nil` if none
/// does.
package typealias MediaObjectVerdict = Result<SessionAccount?, SessionRefusal>

/// A verdict that is there, or one that is waited for.
package enum MediaObjectAdmission: Sendable {
    case now(MediaObjectVerdict)
    /// Completes on the loop that was given with the request. A future that fails is a refusal.
    case later(EventLoopFuture<MediaObjectVerdict>)
}

/// Decides who may have files of streams: HLS, DASH, pictures, recordings.
package protocol MediaObjectGate: Sendable {
    /// Called on `loop` for each request, must not block it. Futures complete on `loop`.
    func admit(
        _ request: MediaObjectRequest, _ access: MediaObjectAccess, on loop: any EventLoop
    ) -> MediaObjectAdmission
}
