package import Media
package import NIOCore
package import Streaming

/// A publisher, as the stream sees it.
package protocol Publisher: AnyObject, Sendable {
    /// Another session took the stream over, or it was ended by an operator. Called on the stream's home loop.
    func publishingRevoked(_ reason: PublishEnd)
    /// A viewer would be helped by a keyframe before its time. At most once a second, on the stream's home loop. Does
    /// nothing unless the publisher's protocol can ask for one.
    func keyframeRequested()
}

extension Publisher {
    package func keyframeRequested() {}
}

/// Why a publisher no longer has its stream.
package enum PublishEnd: Sendable, Hashable {
    /// A newer session replaced it.
    case takenOver
    /// The cluster knows a newer epoch of the stream.
    case superseded(epoch: UInt64)
    case kicked(reason: String)
}

/// One stream on this node: its publisher, its timeline and its renditions.
///
/// Confined to its home loop; `StreamHub` finds and makes streams. A stream without publisher and viewers ends after
/// the idle time of its settings.
// Safety: all mutable state is touched on `home` only; entry points assert it or hop there.
package final class LiveStream: @unchecked Sendable {
    package let key: StreamKey
    package let home: any EventLoop
    package let settings: LiveStreamSettings
    let hub: StreamHub

    private var slot = PublisherSlot()
    private(set) var publisher: (any Publisher)?
    private var timeline: Timeline
    private(set) var state = StreamState()
    private(set) var gop: GOPCache
    private(set) var renditions: [RenditionID: HomeRendition] = [:]
    var taps: [TapEntry] = []
    /// The audio that is made of the source's, by codec.
    var derivations: [Codec: AudioDerivation] = [:]
    private var audiences: [any StreamAudience] = []
    private var graceTimer: Scheduled<Void>?
    private var idleTimer: Scheduled<Void>?
    /// Those who need the stream to stay although nobody publishes or watches it.
    private var holds = 0
    /// Video of a new source is dropped until a decoder can start with it.
    private var awaitsKeyframe = false
    /// When the publisher was last asked for a keyframe, and when it will be again.
    var keyframeRequestedAt: NIODeadline?
    var keyframeTimer: Scheduled<Void>?
    /// Frames that a source repeats after a reconnect are dropped until it is past them.
    private var repeatsUntil: NIODeadline?
    package private(set) var isClosed = false

    private var epoch: UInt64 = 0
    private var counters = StreamCounters()
    private var endedSentBytes: UInt64 = 0
    private var publishedAt: NIODeadline?
    private var meter = IngestMeter()

    init(key: StreamKey, home: any EventLoop, settings: LiveStreamSettings, hub: StreamHub) {
        self.key = key
        self.home = home
        self.settings = settings
        self.hub = hub
        self.timeline = Timeline(configuration: settings.timeline)
        self.gop = GOPCache(maximumBytes: settings.gopCacheBytes)
    }

    // MARK: Publishing

    /// A session asks to publish. `nil`: it may go on, and must `activate` or `abandon`. `policy`: what holds for this
    /// session, rather than the stream's settings. On `home`.
    package func claim(_ session: PublisherSlot.Session, policy: PublishPolicy? = nil) -> PublisherSlot.Refusal? {
        self.home.assertInEventLoop()
        var settings = self.settings.publish
        if let policy { settings.policy = policy }
        let refusal = self.slot.claim(session, settings: settings, now: .now())
        if refusal == nil { self.cancelIdleTimer() }
        return refusal
    }

    /// The claim was granted with `epoch`. Returns false if it was abandoned meanwhile. On `home`.
    ///
    /// `continuesClock`: the source's clock goes on from an earlier session, whose last frames it may repeat.
    package func activate(
        _ id: UInt64, publisher: any Publisher, epoch: UInt64, clock: SourceClock, continuesClock: Bool = false
    ) -> Bool {
        self.home.assertInEventLoop()
        guard self.slot.isClaiming(id) else { return false }
        let now = NIODeadline.now()
        let replaced = self.slot.activate(id, now: now) != nil ? self.publisher : nil
        self.publisher = publisher
        self.epoch = epoch
        self.publishedAt = now
        self.graceTimer?.cancel()
        self.graceTimer = nil
        let continues = continuesClock && self.timeline.end != nil
        self.timeline.sourceChanged(clock: clock, continuesClock: continues)
        self.repeatsUntil = continues ? now + .seconds(10) : nil
        self.awaitsKeyframe = !continues
        // What the new source consists of, it will say; an old track that it does not have must not be announced.
        if !continues {
            self.state = StreamState()
            self.gop.clear()
            self.meter.sourceChanged()
            self.endDerivations()
        }
        replaced?.publishingRevoked(.takenOver)
        for entry in self.taps { entry.tap.sourceStarted(epoch: epoch, continues: continues) }
        self.hub.observer?.streamChanged(self, .live(epoch: epoch))
        return true
    }

    package func abandon(_ id: UInt64) {
        self.home.assertInEventLoop()
        self.slot.abandon(id)
        self.claimEnded()
    }

    /// Media of session `id`, in order. Sessions that do not hold the stream are ignored. On `home`.
    package func receive(_ events: [MediaEvent], from id: UInt64) {
        self.home.assertInEventLoop()
        guard self.slot.holder == id else { return }
        let now = NIODeadline.now()
        self.slot.receivedMedia(now: now)
        var hasVideo = false
        for event in events {
            guard let placed = self.place(event, now: now) else { continue }
            if case .frame(let frame) = placed, frame.kind == .video { hasVideo = true }
            self.gop.append(placed, state: self.state)
            self.distribute(placed, now: now)
        }
        for rendition in self.renditions.values { rendition.batchEnded(hasVideo: hasVideo, now: now) }
        for entry in self.taps { entry.tap.batchEnded(now: now) }
    }

    /// Puts an event on the stream's timeline; `nil` if viewers must not get it.
    private func place(_ event: MediaEvent, now: NIODeadline) -> MediaEvent? {
        switch event {
        case .track(let track):
            if track.kind == .video {
                guard self.state.video != track else { return nil }
                self.state.video = track
            } else {
                guard self.state.audio != track else { return nil }
                self.state.audio = track
            }
            self.hub.observer?.streamChanged(self, .tracks)
            return event
        case .metadata(let metadata):
            guard self.state.metadata != metadata else { return nil }
            self.state.metadata = metadata
            return event
        case .data(var data):
            data.time = self.timeline.end ?? .zero
            return .data(data)
        case .frame(var frame):
            if let until = self.repeatsUntil {
                if now < until, self.timeline.wasPlaced(frame.kind, at: frame.dts) { return nil }
                if frame.kind == .video { self.repeatsUntil = nil }
            }
            if self.awaitsKeyframe, frame.kind == .video {
                guard frame.isKeyframe else {
                    self.counters.droppedFrames += 1
                    return nil
                }
                self.awaitsKeyframe = false
            }
            if frame.isKeyframe, frame.kind == .video { self.keyframeArrived() }
            let offset = frame.pts - frame.dts
            frame.dts = self.timeline.place(frame.kind, at: frame.dts, arrival: now)
            frame.pts = frame.dts + offset
            self.counters.count(frame)
            self.meter.count(frame, now: now)
            return .frame(frame)
        }
    }

    /// Session `id` left. On `home`.
    package func left(_ id: UInt64) {
        self.home.assertInEventLoop()
        switch self.slot.left(id, settings: self.settings.publish, now: .now()) {
        case .unknown: self.claimEnded()
        case .ended:
            self.publisher = nil
            self.end(.streamEnded)
        case .waiting(let until):
            self.publisher = nil
            for entry in self.taps { entry.tap.sourceEnded(isFinal: false) }
            self.hub.observer?.streamChanged(self, .waiting(epoch: self.epoch))
            self.graceTimer = self.home.assumeIsolated().scheduleTask(deadline: until) { [weak self] in
                guard let self, self.slot.deadlineReached(now: .now()) else { return }
                self.end(.streamEnded)
            }
        }
    }

    /// A claim came to nothing. The wait for a publisher does not end while one is being admitted; it may have run out.
    private func claimEnded() {
        if self.slot.deadlineReached(now: .now()) {
            self.end(.streamEnded)
        } else {
            self.checkIdle()
        }
    }

    /// Takes the stream from its publisher at once; viewers wait for another as they do when one leaves. On `home`.
    package func revoke(_ reason: PublishEnd) {
        self.home.assertInEventLoop()
        guard let publisher = self.publisher, let holder = self.slot.holder else { return }
        publisher.publishingRevoked(reason)
        self.left(holder)
    }

    /// Ends the stream for its viewers without waiting for a publisher's return. On `home`.
    package func endNow(_ reason: ViewerEnd) {
        self.home.assertInEventLoop()
        guard self.slot.phase == .grace || self.slot.phase == .free else { return }
        self.slot.endGrace()
        self.end(reason)
    }

    private func end(_ reason: ViewerEnd) {
        self.keyframeArrived()
        self.graceTimer?.cancel()
        self.graceTimer = nil
        for rendition in self.renditions.values { rendition.end(reason) }
        for entry in self.taps { entry.tap.sourceEnded(isFinal: true) }
        self.endDerivations()
        self.state = StreamState()
        self.gop.clear()
        self.publishedAt = nil
        self.meter = IngestMeter()
        self.hub.observer?.streamChanged(self, .ended(epoch: self.epoch))
        self.checkIdle()
    }

    // MARK: Viewing

    /// Lets a viewer follow the stream in the rendition `id`, which `encoder` renders if nobody else watches it.
    ///
    /// Call on any loop. A stream without a publisher takes viewers, too; they wait. Returns false if the stream is gone.
    package func join(
        _ viewer: Viewer, rendition id: RenditionID, encoder: @escaping @Sendable () -> any RenditionEncoder
    ) -> EventLoopFuture<Bool> {
        if self.home.inEventLoop {
            return self.home.makeSucceededFuture(self.add(viewer, id, encoder))
        }
        return self.home.submit { self.add(viewer, id, encoder) }
    }

    private func add(_ viewer: Viewer, _ id: RenditionID, _ encoder: () -> any RenditionEncoder) -> Bool {
        guard !self.isClosed else { return false }
        self.cancelIdleTimer()
        let rendition = self.renditions[id] ?? self.makeRendition(id, encoder())
        self.renditions[id] = rendition
        rendition.add(viewer)
        return true
    }

    private func makeRendition(_ id: RenditionID, _ encoder: any RenditionEncoder) -> HomeRendition {
        let rendition = HomeRendition(stream: self, feed: RenditionFeed(id: id, encoder: encoder))
        self.begin(rendition, now: .now())
        return rendition
    }

    func viewerLeft(_ id: RenditionID, on loop: any EventLoop) {
        guard self.home.inEventLoop else { return self.home.execute { self.viewerLeft(id, on: loop) } }
        guard let rendition = self.renditions[id] else { return }
        rendition.viewerLeft(on: loop)
        guard rendition.viewerCount == 0 else { return }
        rendition.stop()
        self.renditions[id] = nil
        self.letDerivationsLinger()
        self.checkIdle()
    }

    // MARK: Taps

    /// Lets `tap` follow the stream, from the GOP cache on if a publisher is here already. On `home`.
    package func attach(_ tap: any StreamTap) {
        self.home.assertInEventLoop()
        guard !self.taps.contains(where: { $0.tap === tap }) else { return }
        self.taps.append(TapEntry(tap))
        guard self.publisher != nil else { return self.place(tap) }
        tap.sourceStarted(epoch: self.epoch, continues: false)
        self.begin(tap, now: .now())
    }

    /// On `home`.
    package func detach(_ tap: any StreamTap) {
        self.home.assertInEventLoop()
        self.taps.removeAll { $0.tap === tap }
        self.letDerivationsLinger()
    }

    /// The newest frame that a picture can be made of, with its track; `nil` without video or without a GOP cache. On
    /// `home`.
    package func lastKeyframe() -> (frame: Frame, track: Track)? {
        self.home.assertInEventLoop()
        var found: (frame: Frame, track: Track)?
        self.gop.replay { event, state in
            guard case .frame(let frame) = event, frame.kind == .video, frame.isKeyframe, let track = state.video
            else { return }
            found = (frame, track)
        }
        return found
    }

    // MARK: Life

    package var viewerCount: Int {
        self.renditions.values.reduce(0) { $0 + $1.viewerCount } + self.audiences.reduce(0) { $0 + $1.viewerCount }
    }

    private var isWatched: Bool { !self.renditions.isEmpty || !self.audiences.isEmpty }

    /// Whether nobody publishes or watches. On `home`.
    private var isIdle: Bool { self.slot.phase == .free && !self.isWatched && self.holds == 0 }

    func add(_ audience: any StreamAudience) -> Bool {
        self.home.assertInEventLoop()
        guard !self.isClosed else { return false }
        self.cancelIdleTimer()
        if !self.audiences.contains(where: { $0 === audience }) { self.audiences.append(audience) }
        return true
    }

    func remove(_ audience: any StreamAudience) {
        self.audiences.removeAll { $0 === audience }
        self.checkIdle()
    }

    /// The number of viewers by format.
    private var viewersByFormat: [String: Int] {
        var viewers: [String: Int] = [:]
        for (id, rendition) in self.renditions { viewers[id.format, default: 0] += rendition.viewerCount }
        for audience in self.audiences { viewers[audience.format, default: 0] += audience.viewerCount }
        return viewers
    }

    /// Keeps the stream although nobody publishes or watches it yet. Returns false if it is gone already. On `home`.
    package func hold() -> Bool {
        self.home.assertInEventLoop()
        guard !self.isClosed else { return false }
        self.holds += 1
        self.cancelIdleTimer()
        return true
    }

    /// Ends a `hold`. `closesNow`: an idle stream is not worth the idle time. On `home`.
    package func letGo(closesNow: Bool) {
        self.home.assertInEventLoop()
        self.holds -= 1
        if closesNow, self.isIdle, !self.isClosed { self.close() } else { self.checkIdle() }
    }

    private func close() {
        self.cancelIdleTimer()
        self.endDerivations()
        self.isClosed = true
        self.hub.remove(self)
    }

    private func cancelIdleTimer() {
        self.idleTimer?.cancel()
        self.idleTimer = nil
    }

    /// A viewer fell behind and skipped to a start point, or was closed for doing so too often.
    func viewerSkipped(_ reason: SkipReason, closes: Bool) {
        guard self.home.inEventLoop else {
            return self.home.execute { self.viewerSkipped(reason, closes: closes) }
        }
        switch reason {
        case .bytes: self.counters.skipsByBytes += 1
        case .age: self.counters.skipsByAge += 1
        }
        if closes { self.counters.slowViewersClosed += 1 }
    }

    func checkIdle() {
        if !self.isWatched { self.hub.observer?.streamChanged(self, .unwatched) }
        guard self.isIdle, !self.isClosed, self.idleTimer == nil else { return }
        self.idleTimer = self.home.assumeIsolated().scheduleTask(in: self.settings.idleTimeout) { [weak self] in
            guard let self else { return }
            self.idleTimer = nil
            guard self.isIdle else { return }
            self.close()
        }
    }

    /// What is known of the stream now. On `home`; bytes sent are those of viewers that are still here.
    package func snapshot() -> StreamSnapshot {
        self.home.assertInEventLoop()
        let now = NIODeadline.now()
        return StreamSnapshot(
            key: self.key, epoch: self.epoch, phase: self.slot.phase, state: self.state, counters: self.counters,
            viewers: self.viewersByFormat,
            silentFor: self.slot.silence(now: now), publishedFor: self.publishedAt.map { now - $0 },
            end: self.timeline.end,
            joinedJumps: self.timeline.joinedJumps, restampedFrames: self.timeline.restampedFrames,
            ingest: self.meter.facts(now: now), renditions: self.renditions.values.map { $0.snapshot(now: now) },
            derivations: self.derivationSnapshots())
    }
}
