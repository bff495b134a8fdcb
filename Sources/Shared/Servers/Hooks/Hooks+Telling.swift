import Media
import NIOCore
package import StreamHub

/// What happened is told: queued here, called by the lanes.
extension Hooks {
    // MARK: Sessions

    package func sessionBegan(_ account: SessionAccount, _ activity: SessionActivity) {
        guard !activity.isRelay else { return }
        self.sessions.began(account, activity)
    }

    package func sessionEnded(_ account: SessionAccount, _ activity: SessionActivity, _ result: SessionResult) {
        guard !activity.isRelay else { return }
        let urls = self.urls(activity.key)
        let hasFiles = [HookEvent.onDVR, .onHLS, .onHLSNotify].contains { !urls[$0].isEmpty }
        guard let peer = self.sessions.ended(account, activity, hasFiles: hasFiles, now: .now()) else { return }
        let event: HookEvent = activity.kind == .publish ? .onUnpublish : .onStop
        self.tell(event, activity.key) { self.bodies.ended(event, activity, peer, result) }
    }

    package func sessionClosed(_ account: SessionAccount) {
        guard let (key, peer) = self.sessions.closed(account) else { return }
        self.tellClosed(key, peer, sent: account.sentBytes, received: account.receivedBytes)
    }

    func tellClosed(_ key: StreamKey, _ peer: HookPeer, sent: UInt64, received: UInt64) {
        self.tell(.onClose, key) { self.bodies.closed(key, peer, sent: sent, received: received) }
    }

    // MARK: Files

    /// Tells of a finished recording. Any thread may call.
    package func recordingFinished(_ recording: HookRecording) {
        let peer = self.publisher(of: recording.key)
        self.tell(.onDVR, recording.key) { self.bodies.recorded(recording, peer) }
    }

    /// Tells of a finished segment, by `on_hls` and `on_hls_notify`. Any thread may call.
    package func segmentFinished(_ segment: HookSegment) {
        let urls = self.urls(segment.key)
        guard !urls[.onHLS].isEmpty || !urls[.onHLSNotify].isEmpty else { return }
        let peer = self.publisher(of: segment.key)
        self.tell(.onHLS, segment.key) { self.bodies.segment(segment, peer) }
        for template in urls[.onHLSNotify] {
            let url = NotifyURL.make(template, self.configuration, segment, parameter: peer.parameter)
            self.add(HookQueue.Item(event: .onHLSNotify, url: url, key: segment.key, body: nil))
        }
    }

    private func publisher(of key: StreamKey) -> HookPeer {
        self.sessions.publisher(of: key) ?? HookPeer(id: "", ip: "")
    }

    // MARK: The queue

    private func tell(_ event: HookEvent, _ key: StreamKey, _ body: @escaping @Sendable () -> ByteBuffer) {
        for url in self.urls(key)[event] { self.add(HookQueue.Item(event: event, url: url, key: key, body: body)) }
    }

    private func add(_ item: HookQueue.Item) {
        guard !self.queue.add(item) else { return }
        self.transport.count(item.event) { $0.dropped += 1 }
        self.problems.dropped(item.event, item.url)
    }

    /// Makes the calls of a lane one after another, until there are none.
    func work(on lane: HookQueue.Lane) async {
        var item = self.queue.next(in: lane)
        while let next = item, !Task.isCancelled {
            guard await self.deliver(HookCall(next.event, url: next.url, body: next.body?())) else { return }
            item = self.queue.advance(lane)
        }
    }

    /// Tries a call until it is answered or given up. Returns false if it was cancelled.
    private func deliver(_ call: HookCall) async -> Bool {
        var attempt = 0
        while true {
            let outcome = await self.transport.call(call, deadline: .now() + self.configuration.timeout)
            if case .cancelled = outcome { return false }
            guard let problem = self.problem(of: outcome, to: call) else {
                self.transport.count(call.event) { $0.delivered += 1 }
                return true
            }
            guard problem.mayPass, attempt < self.configuration.retries else {
                self.transport.count(call.event) {
                    if problem.isAnswer { $0.refused += 1 } else { $0.failed += 1 }
                }
                self.problems.note(call.event, call.url, problem.text)
                return true
            }
            let pause = self.configuration.pauses[min(attempt, self.configuration.pauses.count - 1)]
            attempt += 1
            self.transport.count(call.event) { $0.retried += 1 }
            guard (try? await Task.sleep(nanoseconds: UInt64(max(0, pause.nanoseconds)))) != nil else { return false }
        }
    }

    private struct Problem {
        var text: String
        var isAnswer: Bool
        /// Another try may succeed.
        var mayPass: Bool
    }

    private func problem(of outcome: HookTransport.Outcome, to call: HookCall) -> Problem? {
        switch outcome {
        case .answered(let status, let body):
            if call.event == .onHLSNotify {
                // The answer to a notification is not looked at.
                if 200..<300 ~= status { return nil }
            } else if case .agreed = HookAnswer(status: status, body: body) {
                return nil
            }
            return Problem(
                text: "answered with status \(status), not with agreement", isAnswer: true,
                mayPass: status == 429 || 500..<600 ~= status)
        case .tooLong:
            if call.event == .onHLSNotify { return nil }
            return Problem(text: "an answer that is too long", isAnswer: true, mayPass: false)
        case .unreachable(let text):
            return Problem(text: text, isAnswer: false, mayPass: true)
        case .cancelled:
            return Problem(text: "cancelled", isAnswer: false, mayPass: false)
        }
    }
}
