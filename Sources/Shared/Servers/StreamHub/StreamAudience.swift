/// A tap whose followers are viewers: they count as the stream's, and the stream goes on while there are any.
///
/// For transports whose viewers cannot share bytes, such as WebRTC; those that can follow a rendition. Everything here
/// is touched on the stream's home loop.
package protocol StreamAudience: StreamTap {
    /// The protocol's own word in counts of viewers, such as `webrtc`.
    var format: String { get }
    var viewerCount: Int { get }
}

extension LiveStream {
    /// Lets an audience follow the stream, from the GOP cache on if a publisher is here already. Returns false if the
    /// stream is gone. On `home`.
    package func join(_ audience: any StreamAudience) -> Bool {
        guard self.add(audience) else { return false }
        self.attach(audience)
        return true
    }

    /// The audience has nobody left. On `home`.
    package func leave(_ audience: any StreamAudience) {
        self.detach(audience)
        self.remove(audience)
    }
}
