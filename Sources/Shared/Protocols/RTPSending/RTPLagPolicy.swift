import Media
package import NIOCore

/// Decides what becomes of frames that reached an event loop late, because the loop has more to do than it can.
///
/// Working off every frame would keep all viewers behind the stream for as long as the loop was. So late audio is left
/// out, and late video up to a keyframe; then everything is live again at once.
///
/// One for each loop and stream. Frames come nearly in the order of their arrival on the node, so the late ones of a batch
/// are its first.
package struct RTPLagPolicy: Sendable {
    /// What of a batch is late.
    package struct Verdict: Sendable, Hashable {
        /// Frames at the front of the batch that are not to be sent live any more.
        package var lateCount = 0
        /// Of these, audio and video.
        package var audioCount = 0
        package var videoCount = 0
        /// A keyframe that reached the node so long ago is still worth beginning with; `nil`: any.
        package var reach: TimeAmount?
    }

    private let limit: TimeAmount
    private let calm: TimeAmount
    private var lastLate: NIODeadline?

    /// `limit`: the age from which frames are late. A loop that was on time for `calm` has time to go back to the last
    /// keyframe, wherever it is: nobody waits for the next one because of one hiccup. One that lags again and again has no
    /// time for more than `limit`.
    package init(limit: TimeAmount = .milliseconds(500), calm: TimeAmount = .seconds(10)) {
        self.limit = limit
        self.calm = calm
    }

    /// Judges the frames that a loop takes in at `now`.
    package mutating func judge(_ frames: [RTPFrame], now: NIODeadline) -> Verdict {
        var verdict = Verdict()
        // Sound may stand behind a picture that came a little later.
        guard let last = frames.lastIndex(where: { now - $0.arrival > self.limit }) else { return verdict }
        verdict.lateCount = last + 1
        for frame in frames[...last] {
            if frame.kind == .video { verdict.videoCount += 1 } else { verdict.audioCount += 1 }
        }
        let wasCalm = self.lastLate.map { now - $0 >= self.calm } ?? true
        verdict.reach = wasCalm ? nil : self.limit
        self.lastLate = now
        return verdict
    }
}

extension RTPViewer {
    /// Frames were left out because the viewer's loop lags. Audio goes on with the next frame that is on time. Video
    /// begins anew at a keyframe: at the newest one of the ring, which has all frames of the batch, if it is within
    /// `reach`, else at the next. The frames that are on time follow by `send`, and `next`.
    package mutating func leaveOut(_ late: RTPLagPolicy.Verdict, ring: RTPFrameRing, now: NIODeadline) {
        if let phase = self.audio?.phase, phase != .idle {
            self.statistics.droppedFrames += UInt64(truncatingIfNeeded: late.audioCount)
        }
        guard late.videoCount > 0, let phase = self.video?.phase, phase == .live || phase == .waiting else { return }
        if phase == .live { self.skip(.lag) }
        // A viewer whose own transport is full waits for that first.
        guard self.queuedBytes <= self.configuration.maximumQueuedBytes / 2 else { return }
        if let number = ring.lastKeyframe, let keyframe = ring.frame(.video, number: number),
            late.reach.map({ now - keyframe.arrival <= $0 }) ?? true, self.replay(from: ring, now: now)
        {
            return
        }
        self.needKeyframe(now: now)
    }
}
