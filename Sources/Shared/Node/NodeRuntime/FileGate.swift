import AccessControl
import HTTPMedia
import MediaObjects
import NIOCore
import StreamHub

/// Who may have files of streams. The signature in front of a path is looked at for each request, because one that was
/// right opens nothing else; all that belongs to a viewer is decided once, by the session.
struct FileGate: MediaObjectGate {
    let sessions: ObjectSessions
    let access: AccessControl
    let configuration: ObjectSessionsConfiguration

    func admit(
        _ request: MediaObjectRequest, _ access: MediaObjectAccess, on loop: any EventLoop
    ) -> MediaObjectAdmission {
        if !self.configuration.isNode(access), let refusal = self.access.fileRefusal(request.key, access) {
            return .now(.failure(refusal))
        }
        return self.sessions.admit(request, access, on: loop)
    }
}
