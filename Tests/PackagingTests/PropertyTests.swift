import Media
import NIOCore
import Playlists
import Testing

@testable import Packaging

/// Small, fast and the same everywhere (SplitMix64).
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

@Suite("Properties of any stream")
struct PropertyTests {
    /// A source with its own frame rate, keyframes, sound and manners.
    private struct Actor {
        var random: Seeded
        var bench: Bench
        var time: Double = 0
        var fps = 25.0
        var gop = 50
        var rate = 48_000
        var toKeyframe = 0
        var sound = 0.0
        var soundLead = 0.0
        var hasAudio = true
        var hasVideo = true
        var roundsTimes = true
        /// How much later than it is decoded a keyframe is shown, in ticks.
        var delay: Int64 = 0
        var epoch: UInt64 = 1

        init(seed: UInt64, configuration: PackagingConfiguration) throws {
            self.random = Seeded(state: seed)
            self.bench = try Bench(configuration, video: Make.h264(), audio: Make.aac())
            self.become()
            self.bench.begin(epoch: 1)
        }

        mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self.random) < percent }

        mutating func become() {
            self.fps = [10, 15, 23.976, 24, 25, 29.97, 30, 50, 60].randomElement(using: &self.random) ?? 25
            self.gop = Int.random(in: 1...150, using: &self.random)
            self.roundsTimes = self.chance(80)
            self.soundLead = Double.random(in: -0.7...0.7, using: &self.random)
            self.toKeyframe = 0
            self.delay = Int64.random(in: 0...2, using: &self.random) * 3600
        }

        func ticks(_ seconds: Double) -> Int64 {
            self.roundsTimes ? Int64((seconds * 1000).rounded()) * 90 : Int64((seconds * 90_000).rounded())
        }

        mutating func step() throws {
            if self.hasVideo || !self.hasAudio {
                let isKey = self.toKeyframe <= 0
                if isKey { self.toKeyframe = self.chance(30) ? Int.random(in: 1...150, using: &self.random) : self.gop }
                self.toKeyframe -= 1
                let offset = self.delay + (isKey ? 0 : Int64.random(in: -1...2, using: &self.random) * 3600)
                self.bench.frame(.video, self.ticks(self.time), offset: offset, key: isKey)
            }
            if self.hasAudio {
                while self.sound < self.time + self.soundLead {
                    self.bench.frame(.audio, self.ticks(max(0, self.sound)))
                    self.sound += 1024 / Double(self.rate)
                }
            }
            self.time += 1 / self.fps
            try self.misbehave()
        }

        mutating func misbehave() throws {
            switch Int.random(in: 0..<2500, using: &self.random) {
            case 0:
                // A stall of everything.
                let pause = Double.random(in: 0.05...15, using: &self.random)
                self.time += pause
                self.sound = max(self.sound, self.time)
            case 1:
                self.bench.end(isFinal: self.chance(50))
                self.epoch += 1
                self.time += Double.random(in: 0...5, using: &self.random)
                self.sound = self.time
                self.bench.nowMillis += Int64.random(in: -60_000...60_000, using: &self.random)
                self.become()
                self.bench.begin(epoch: self.epoch)
            case 2:
                self.epoch += 1
                self.sound = max(self.sound, self.time)
                self.bench.begin(epoch: self.epoch, continues: true, announces: false)
            case 3:
                self.bench.change(video: try Make.h264(level: UInt8.random(in: 10...40, using: &self.random)))
                self.toKeyframe = 0
            case 4:
                self.rate = [44_100, 48_000, 32_000].randomElement(using: &self.random) ?? 48_000
                self.bench.change(audio: try Make.aac(rate: self.rate))
                self.sound = max(self.sound, self.time)
            case 5:
                self.hasAudio.toggle()
                self.sound = max(self.sound, self.time)
            case 6:
                self.hasVideo.toggle()
                self.toKeyframe = 0
            case 7:
                let message = TimedData(
                    name: "onCuePoint", time: MediaTime(ticks: self.ticks(self.time)), payload: .init())
                self.bench.send(.data(message))
            default: break
            }
        }
    }

    @Test(
        "numbers and times never go back, frames are in one segment each, parts make up their segment",
        arguments: 0..<30)
    func invariants(seed: Int) throws {
        var actor = try Actor(
            seed: UInt64(seed), configuration: .init(partDurationMillis: seed % 3 == 0 ? nil : 200))
        var watch = PlaylistWatch()
        for _ in 0..<4000 {
            try actor.step()
            try watch.look(at: actor.bench.window)
        }
        try checkInvariants(&actor.bench)
        try watch.look(at: actor.bench.window)
        self.checkOverlap(actor.bench)
        #expect(watch.playlists > 30)
    }

    /// Segments of one number cover the same time.
    private func checkOverlap(_ bench: Bench) {
        let audio = Dictionary(
            bench.segments(.audio).map { ($0.facts.sequence, $0.facts) }, uniquingKeysWith: { $1 })
        for segment in bench.segments(.video) {
            guard let other = audio[segment.facts.sequence], !segment.facts.isGap, !other.isGap else { continue }
            let facts = segment.facts
            #expect(
                facts.programDateTimeMillis <= other.endMillis + 100
                    && other.programDateTimeMillis <= facts.endMillis + 100, "\(facts) \(other)")
            #expect(facts.run == other.run)
        }
    }
}

/// Looks at a window's playlists as a player does, and remembers what it saw.
struct PlaylistWatch {
    private var seen: [PackagingTag: MediaPlaylist] = [:]
    private var generation: UInt64 = 0
    private(set) var playlists = 0

    mutating func look(at window: StreamWindow) throws {
        guard window.generation != self.generation else { return }
        self.generation = window.generation
        for tag in window.tags {
            guard case .playlist(let playlist, _) = window.playlist(tag) else { continue }
            self.playlists += 1
            if let before = self.seen[tag] { self.compare(before, playlist) }
            self.seen[tag] = playlist
        }
    }

    private func compare(_ before: MediaPlaylist, _ now: MediaPlaylist) {
        #expect(now.mediaSequence >= before.mediaSequence)
        #expect(now.discontinuitySequence >= before.discontinuitySequence)
        #expect(now.partTarget ?? .zero >= before.partTarget ?? .zero)
        // What both list is the same.
        let skipped = Int(now.mediaSequence - before.mediaSequence)
        guard skipped < before.segments.count else { return }
        for (old, new) in zip(before.segments[skipped...], now.segments) {
            #expect(old.uri == new.uri && old.duration == new.duration && old.map == new.map)
            #expect(old.programDateTimeMillis == new.programDateTimeMillis)
            #expect(old.isDiscontinuity == new.isDiscontinuity && old.isGap == new.isGap)
        }
        // A discontinuity counts from where it was to where it is (RFC 8216 §6.2.2).
        let passed = before.segments.prefix(skipped).count { $0.isDiscontinuity }
        #expect(now.discontinuitySequence == before.discontinuitySequence + UInt64(passed))
    }
}
