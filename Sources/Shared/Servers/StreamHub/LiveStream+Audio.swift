import Media
import NIOCore
import Streaming

/// How renditions and taps get the audio that they ask for.
///
/// Each has a place: the source, or a derivation of it. Places are found anew when the source's audio track changes. All
/// of this is on the stream's home loop.
extension LiveStream {
    // MARK: Events

    /// Gives an event that is in the stream's state and cache to those who follow.
    func distribute(_ event: MediaEvent, now: NIODeadline) {
        if case .track(let track) = event, track.kind == .audio { return self.changeAudio(to: track, now: now) }
        self.give(event, state: self.state, to: nil, now: now)
        for derivation in self.derivations.values {
            guard let shown = derivation.receive(event) else { continue }
            self.give(shown, state: derivation.state, to: derivation, now: now)
        }
    }

    private func give(_ event: MediaEvent, state: StreamState, to derivation: AudioDerivation?, now: NIODeadline) {
        for rendition in self.renditions.values where rendition.place.derivation === derivation {
            rendition.append(event, state: state, now: now)
        }
        for entry in self.taps where entry.place.derivation === derivation {
            entry.tap.receive(event, state: state, now: now)
        }
    }

    /// A transcoder made frames.
    private func derived(_ frames: [Frame], by derivation: AudioDerivation, transcoder: UInt64) {
        guard self.derivations[derivation.codec] === derivation else { return }
        // What is left when the publisher is gone would come behind the end that taps were told.
        guard self.publisher != nil else { return }
        let now = NIODeadline.now()
        var isAnyAccepted = false
        for frame in frames where derivation.accept(frame, from: transcoder) {
            isAnyAccepted = true
            self.give(.frame(frame), state: derivation.state, to: derivation, now: now)
        }
        guard isAnyAccepted else { return }
        for rendition in self.renditions.values where rendition.place.derivation === derivation {
            rendition.batchEnded(hasVideo: false, now: now)
        }
        for entry in self.taps where entry.place.derivation === derivation { entry.tap.batchEnded(now: now) }
    }

    /// The source's audio is another from now on: everybody's place is found anew.
    private func changeAudio(to track: Track, now: NIODeadline) {
        for derivation in self.derivations.values where derivation.isFilling { self.filled(derivation) }
        for rendition in self.renditions.values {
            rendition.place = self.moved(rendition.place, to: track, form: rendition.id.audio) {
                rendition.append($0, state: $1, now: now)
            }
        }
        for entry in self.taps {
            entry.place = self.moved(entry.place, to: track, form: entry.tap.audioForm) {
                entry.tap.receive($0, state: $1, now: now)
            }
        }
        for derivation in self.derivations.values where self.followers(of: derivation) == 0 { self.end(derivation) }
    }

    /// Finds the new place of one follower, and tells it of its audio track if that is another.
    private func moved(
        _ old: AudioPlace, to track: Track, form: AudioForm, tell: (MediaEvent, StreamState) -> Void
    ) -> AudioPlace {
        guard let derivation = self.derivation(for: form, transcodesCache: false) else {
            tell(.track(track), self.state)
            return AudioPlace()
        }
        let place = AudioPlace(derivation: derivation, track: derivation.track)
        guard old.track != place.track || old.derivation !== derivation else { return place }
        let state = derivation.state
        tell(.track(derivation.track), state)
        if let metadata = state.metadata, metadata != self.state.metadata { tell(.metadata(metadata), state) }
        return place
    }

    // MARK: Followers

    /// Finds the place of a new rendition and gives it what is cached.
    func begin(_ rendition: HomeRendition, now: NIODeadline) {
        rendition.place = self.place(for: rendition.id.audio)
        guard !rendition.place.needsReplay else { return }
        (rendition.place.derivation?.gop ?? self.gop).replay { rendition.append($0, state: $1, now: now) }
    }

    /// Finds the place of a tap that is attached, and was told of the source, and gives it what is cached.
    func begin(_ tap: any StreamTap, now: NIODeadline) {
        guard let entry = self.taps.first(where: { $0.tap === tap }) else { return }
        let place = self.place(for: tap.audioForm)
        entry.place = place
        guard !place.needsReplay else { return }
        (place.derivation?.gop ?? self.gop).replay { tap.receive($0, state: $1, now: now) }
        tap.batchEnded(now: now)
    }

    /// Finds the place of a tap that is attached while nobody publishes. A publisher that goes on where another left
    /// does not tell its tracks again.
    func place(_ tap: any StreamTap) {
        guard let entry = self.taps.first(where: { $0.tap === tap }) else { return }
        entry.place = self.place(for: tap.audioForm)
        entry.place.needsReplay = false
    }

    private func place(for form: AudioForm) -> AudioPlace {
        guard let derivation = self.derivation(for: form, transcodesCache: true) else { return AudioPlace() }
        return AudioPlace(derivation: derivation, needsReplay: derivation.isFilling, track: derivation.track)
    }

    /// Serves those who waited for the audio of the cached group of pictures.
    private func filled(_ derivation: AudioDerivation) {
        guard self.derivations[derivation.codec] === derivation, derivation.isFilling else { return }
        derivation.filled()
        let now = NIODeadline.now()
        for rendition in self.renditions.values
        where rendition.place.derivation === derivation && rendition.place.needsReplay {
            rendition.place.needsReplay = false
            derivation.gop.replay { rendition.append($0, state: $1, now: now) }
            rendition.batchEnded(hasVideo: true, now: now)
        }
        for entry in self.taps where entry.place.derivation === derivation && entry.place.needsReplay {
            entry.place.needsReplay = false
            derivation.gop.replay { entry.tap.receive($0, state: $1, now: now) }
            entry.tap.batchEnded(now: now)
        }
    }

    // MARK: Derivations

    /// The derivation that serves `form`, which is made if there is none; `nil`: the source serves, or nothing better can
    /// be had. `transcodesCache`: a new one begins with the cached audio.
    private func derivation(for form: AudioForm, transcodesCache: Bool) -> AudioDerivation? {
        guard let codec = form.derivation(of: self.state.audio), let source = self.state.audio else { return nil }
        guard let derivation = self.derivations[codec] else {
            return self.makeDerivation(codec, from: source, transcodesCache: transcodesCache)
        }
        guard derivation.sourceChanged(to: source) else {
            self.end(derivation)
            return nil
        }
        derivation.lingerTimer?.cancel()
        derivation.lingerTimer = nil
        return derivation
    }

    private func makeDerivation(_ codec: Codec, from source: Track, transcodesCache: Bool) -> AudioDerivation? {
        guard let factory = self.hub.audioTranscoders else { return nil }
        let derivation = AudioDerivation(
            codec: codec, source: source, state: self.state, gopCacheBytes: self.settings.gopCacheBytes
        ) { [key, home, hub, weak self] source in
            let id = hub.nextSessionID()
            return factory.makeTranscoder(of: key, from: source, to: codec, home: home) { [weak self] frames in
                guard let self, let derivation = self.derivations[codec] else { return }
                self.derived(frames, by: derivation, transcoder: id)
            }.map { ($0, id) }
        }
        guard let derivation else { return nil }
        self.derivations[codec] = derivation
        let reached: @Sendable () -> Void = { [weak self, weak derivation] in
            if let derivation { self?.filled(derivation) }
        }
        if derivation.start(from: self.gop, reached: transcodesCache ? reached : nil) {
            self.home.scheduleTask(in: AudioDerivation.fillLimit, reached)
        }
        return derivation
    }

    private func followers(of derivation: AudioDerivation) -> Int {
        self.renditions.values.count { $0.place.derivation === derivation }
            + self.taps.count { $0.place.derivation === derivation }
    }

    /// Somebody left: what nobody needs any more ends after a while.
    func letDerivationsLinger() {
        for derivation in self.derivations.values
        where derivation.lingerTimer == nil && self.followers(of: derivation) == 0 {
            derivation.lingerTimer = self.home.assumeIsolated().scheduleTask(in: self.settings.audioLinger) {
                [weak self, weak derivation] in
                guard let self, let derivation else { return }
                derivation.lingerTimer = nil
                if self.followers(of: derivation) == 0 { self.end(derivation) }
            }
        }
    }

    private func end(_ derivation: AudioDerivation) {
        derivation.close()
        if self.derivations[derivation.codec] === derivation { self.derivations[derivation.codec] = nil }
        for rendition in self.renditions.values where rendition.place.derivation === derivation {
            rendition.place = AudioPlace()
        }
        for entry in self.taps where entry.place.derivation === derivation { entry.place = AudioPlace() }
    }

    /// The source is over, or another one begins.
    func endDerivations() {
        for derivation in self.derivations.values { self.end(derivation) }
    }

    func derivationSnapshots() -> [DerivationSnapshot] {
        self.derivations.values.map {
            DerivationSnapshot(
                track: $0.track, followers: self.followers(of: $0), statistics: $0.transcoder.statistics)
        }
    }
}
