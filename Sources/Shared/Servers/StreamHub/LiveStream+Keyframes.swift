import NIOCore

extension LiveStream {
    /// Requests that the publisher gets are this far apart.
    private static let keyframeRequestInterval = TimeAmount.seconds(1)

    /// A viewer cannot be served from what is kept, or only with pictures that are long past: asks the publisher for a
    /// keyframe if its protocol can. What comes too soon after the last request waits, and is dropped when a keyframe
    /// comes meanwhile. On `home`.
    package func requestKeyframe() {
        self.home.assertInEventLoop()
        guard let publisher = self.publisher, self.keyframeTimer == nil else { return }
        let now = NIODeadline.now()
        if let last = self.keyframeRequestedAt, now - last < Self.keyframeRequestInterval {
            let due = last + Self.keyframeRequestInterval
            self.keyframeTimer = self.home.assumeIsolated().scheduleTask(deadline: due) { [weak self] in
                self?.keyframeTimer = nil
                self?.requestKeyframe()
            }
            return
        }
        self.keyframeRequestedAt = now
        publisher.keyframeRequested()
    }

    /// A keyframe came, or none will: nobody waits for the publisher to make one.
    func keyframeArrived() {
        self.keyframeTimer?.cancel()
        self.keyframeTimer = nil
    }
}
