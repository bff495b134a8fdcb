import Media
import NIOCore
import Playlists
import Testing

@testable import Packaging

@Suite("What playlists list")
struct WindowTests {
    private func live(
        _ configuration: PackagingConfiguration = .init(), seconds: Double = 20.7
    ) throws -> Bench {
        var bench = try Bench(configuration, video: Make.h264(), audio: Make.aac())
        bench.begin(epoch: 3)
        bench.play(seconds: seconds)
        return bench
    }

    private func playlist(_ answer: PlaylistAnswer) throws -> MediaPlaylist {
        guard case .playlist(let playlist, _) = answer else {
            throw WindowTestError.noPlaylist
        }
        return playlist
    }

    @Test("a live playlist has the window, three segments at least, and names that follow from epoch and number")
    func plain() throws {
        let bench = try self.live()
        let playlist = try self.playlist(bench.window.playlist(.video))
        let last = try #require(bench.segments(.video).last?.facts.sequence)
        #expect(playlist.segments.count == 6 && playlist.mediaSequence == last - 5)
        #expect(playlist.segments.last?.uri == "_video-3-\(last).m4s")
        #expect(playlist.segments.allSatisfy { $0.map?.uri == "_video-3-init0.mp4" && $0.duration.micros == 2_000_000 })
        #expect(playlist.targetDuration == 2 && playlist.kind == .live && !playlist.isEnded)
        #expect(playlist.hasIndependentSegments)
        let control = try #require(playlist.serverControl)
        #expect(control.canBlockReload)
        #expect(control.partHoldBack?.micros == 600_000)
        #expect(control.holdBack?.micros == 6_000_000 && control.canSkipUntil?.micros == 12_000_000)
        let audio = try self.playlist(bench.window.playlist(.audio))
        #expect(audio.mediaSequence == playlist.mediaSequence)
        // Few and long segments: the number decides.
        let few = try self.live(.init(segmentDurationMillis: 10_000, windowMillis: 10_000), seconds: 65)
        #expect(try self.playlist(few.window.playlist(.video)).segments.count == 3)
    }

    @Test("an overview lacks a track that is announced until its first segment is there, or another track has two")
    func overview() throws {
        let bench = try self.live(seconds: 6.5)
        var (whole, silent) = (StreamWindow(configuration: .init()), StreamWindow(configuration: .init()))
        var lacks: [Bool] = []
        for output in bench.outputs {
            whole.append(output)
            if case .segment(let segment) = output {
                lacks.append(whole.lacksAnnouncedTag)
                if segment.facts.tag == .audio { continue }
            }
            silent.append(output)
            if silent.tags.isEmpty { continue }
            #expect(silent.lacksAnnouncedTag == (silent.lists[.video]?.entries.count == 1))
        }
        // The picture's segment comes first, and then the sound's.
        #expect(lacks.prefix(2) == [true, false] && !lacks.dropFirst(2).contains(true))
        #expect(!silent.lacksAnnouncedTag && silent.tags == [.video])
    }

    @Test("parts are listed for the last three target durations, then the open segment's, a hint and a report")
    func parts() throws {
        let bench = try self.live()
        let playlist = try self.playlist(bench.window.playlist(.video))
        let last = playlist.mediaSequence + 5
        #expect(playlist.partTarget?.micros == 200_000)
        #expect(playlist.segments.map(\.parts.count) == [0, 0, 0, 10, 10, 10])
        #expect(playlist.segments.last?.parts.map(\.isIndependent) == [true] + Array(repeating: false, count: 9))
        #expect(playlist.openSegment?.parts.map(\.uri) == (0..<3).map { "_video-3-\(last + 1).\($0).m4s" })
        #expect(playlist.openSegment?.programDateTimeMillis == Bench.start + 20_000)
        #expect(playlist.preloadHints.map(\.uri) == ["_video-3-\(last + 1).3.m4s"])
        #expect(playlist.renditionReports == [.init(uri: "_audio.m3u8", lastSequence: last + 1, lastPart: 2)])
        // Between two segments the hint is for the next one's first part.
        let between = try self.live(seconds: 20.06)
        let hint = try self.playlist(between.window.playlist(.video))
        #expect(hint.openSegment == nil && hint.preloadHints.map(\.uri) == ["_video-3-\(last + 1).0.m4s"])
    }

    @Test("transport streams are listed plainly, without an initialization segment and without promises")
    func transportStream() throws {
        let bench = try self.live(.init(container: .mpegTS))
        let playlist = try self.playlist(bench.window.playlist(.main))
        #expect(playlist.version == 3 && playlist.serverControl == nil && playlist.partTarget == nil)
        #expect(playlist.segments.allSatisfy { $0.map == nil && $0.uri.hasSuffix(".ts") })
        #expect(bench.window.playlist(.video) == .unknown)
        #expect(bench.window.manifest(folder: "game", nowMillis: 0) == nil)
    }

    @Test("encrypted segments name their key, and initialization segments are plain")
    func encrypted() throws {
        let bench = try self.live(.init(segmentsPerKey: 4))
        let playlist = try self.playlist(bench.window.playlist(.video))
        for (index, segment) in playlist.segments.enumerated() {
            let sequence = playlist.mediaSequence + UInt64(index)
            #expect(segment.key == .init(uri: "_key-3-\(sequence / 4).key"))
            #expect(segment.map?.isEncrypted == false)
        }
        #expect(bench.window.manifest(folder: "game", nowMillis: 0) == nil)
    }

    @Test("a request waits for the segment or part that comes next, and is refused what is too far away")
    func blocking() throws {
        let bench = try self.live()
        let window = bench.window
        let last = try #require(bench.segments(.video).last?.facts.sequence)
        #expect(window.readiness(.video, sequence: nil, part: nil) == .ready)
        #expect(window.readiness(.video, sequence: nil, part: 0) == .tooFarAhead)
        #expect(window.readiness(.video, sequence: 0, part: nil) == .ready)
        #expect(window.readiness(.video, sequence: last, part: nil) == .ready)
        #expect(window.readiness(.video, sequence: last, part: 9) == .ready)
        // Parts 0 to 2 of the next one exist; a part behind a segment's last means the next segment's first.
        #expect(window.readiness(.video, sequence: last, part: 10) == .ready)
        #expect(window.readiness(.video, sequence: last + 1, part: nil) == .wait)
        #expect(window.readiness(.video, sequence: last + 1, part: 2) == .ready)
        #expect(window.readiness(.video, sequence: last + 1, part: 3) == .wait)
        #expect(window.readiness(.video, sequence: last + 1, part: 17) == .wait)
        #expect(window.readiness(.video, sequence: last + 1, part: 18) == .tooFarAhead)
        #expect(window.readiness(.video, sequence: last + 2, part: 0) == .wait)
        #expect(window.readiness(.video, sequence: last + 3, part: 0) == .tooFarAhead)
        #expect(window.readiness(.video, sequence: .max, part: nil) == .tooFarAhead)
        #expect(window.readiness(.main, sequence: nil, part: nil) == .unknown)
        #expect(window.playlist(.video, sequence: last + 1, part: 3) == .wait)
        #expect(window.playlist(.video, sequence: .max) == .tooFarAhead)
        var ended = bench
        ended.end(isFinal: true)
        #expect(ended.window.readiness(.video, sequence: last + 2, part: nil) == .ready)
        let between = try self.live(seconds: 20.06)
        #expect(between.window.readiness(.video, sequence: last, part: 10) == .wait)
    }

    @Test("a stream that has just begun is waited for, one without a source is unknown")
    func beginning() throws {
        var bench = try Bench(video: Make.h264(), audio: nil)
        #expect(bench.window.readiness(.video, sequence: nil, part: nil) == .unknown)
        bench.begin()
        #expect(bench.window.readiness(.video, sequence: nil, part: nil) == .wait)
        #expect(bench.window.readiness(.main, sequence: nil, part: nil) == .unknown)
        bench.announce([.video])
        bench.play(seconds: 3, kinds: [.video])
        #expect(bench.window.readiness(.video, sequence: nil, part: nil) == .ready)
        #expect(bench.window.readiness(.audio, sequence: nil, part: nil) == .unknown)
    }

    @Test("ENDLIST is said only where it is wanted, and only of a stream that ended")
    func ending() throws {
        for ends in [false, true] {
            var bench = try self.live(.init(endsPlaylists: ends))
            bench.end(isFinal: false)
            #expect(try !self.playlist(bench.window.playlist(.video)).isEnded)
            #expect(try self.playlist(bench.window.playlist(.video)).preloadHints.isEmpty)
            bench.end(isFinal: true)
            #expect(try self.playlist(bench.window.playlist(.video)).isEnded == ends)
            bench.begin(epoch: 9)
            #expect(try !self.playlist(bench.window.playlist(.video)).isEnded)
        }
    }

    @Test("a viewer may rewind as far as the configuration lets it; delta updates leave the old out")
    func rewind() throws {
        let bench = try self.live(.init(dvrWindowMillis: 60_000), seconds: 100)
        func count(_ seconds: Int?) throws -> Int {
            try self.playlist(bench.window.playlist(.video, rewindSeconds: seconds)).segments.count
        }
        #expect(try count(nil) == 6)
        #expect(try count(20) == 10)
        #expect(try count(5) == 6)
        #expect(try count(3600) == 30)
        guard
            case .playlist(let playlist, .some(let delta)) = bench.window.playlist(
                .video, delta: true, rewindSeconds: 60)
        else { throw WindowTestError.noPlaylist }
        var buffer = ByteBuffer()
        playlist.write(into: &buffer, delta: delta)
        let text = String(buffer: buffer)
        #expect(text.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=24\n"), "\(text.prefix(300))")
        #expect(try self.live().window.playlist(.video, delta: true).isDelta)
        #expect(try !self.live(.init(partDurationMillis: nil)).window.playlist(.video, delta: true).isDelta)
    }

    @Test("the discontinuity sequence counts what has left, and not what is first")
    func discontinuities() throws {
        var bench = try self.live(.init(partDurationMillis: nil), seconds: 5)
        bench.end()
        bench.begin(epoch: 4)
        bench.play(from: 5, seconds: 40)
        var watch = PlaylistWatch()
        try watch.look(at: bench.window)
        let base = PackagingPosition.base(nowMillis: Bench.start)
        #expect(try self.playlist(bench.window.playlist(.video)).discontinuitySequence == base + 1)
        // With the discontinuity first in the list, it is still to come.
        var other = try self.live(.init(partDurationMillis: nil), seconds: 5)
        other.end()
        other.begin(epoch: 4)
        other.play(from: 5, seconds: 13)
        let playlist = try self.playlist(other.window.playlist(.video))
        #expect(playlist.segments.map(\.isDiscontinuity).first == true)
        #expect(playlist.discontinuitySequence == base)
        #expect(playlist.segments.first?.map?.uri == "_video-4-init0.mp4")
    }

    @Test("segments leave memory a while after they left the list, and leave for good after the longest playlist")
    func eviction() throws {
        var bench = try self.live(.init(dvrWindowMillis: 60_000), seconds: 10)
        var memory: [UInt64] = []
        var gone: [UInt64] = []
        for step in 0..<80 {
            bench.play(from: 10 + Double(step) * 2, seconds: 2)
            for evicted in bench.window.evict() where evicted.tag == .video {
                if evicted.reason == .expired { gone.append(evicted.sequence) } else { memory.append(evicted.sequence) }
            }
            let playlist = try self.playlist(bench.window.playlist(.video))
            #expect(memory.allSatisfy { $0 < playlist.mediaSequence })
            let longest = try self.playlist(bench.window.playlist(.video, rewindSeconds: 3600))
            #expect(gone.allSatisfy { $0 < longest.mediaSequence })
        }
        let all = bench.segments(.video).map(\.facts.sequence)
        #expect(memory == Array(all.prefix(memory.count)) && gone == Array(all.prefix(gone.count)))
        // Live window 12 s, the same and two target durations more to be asked for.
        #expect(all.count - memory.count == 14 && all.count - gone.count == 38)
        #expect(bench.window.segment(.video, epoch: 3, sequence: all[all.count - 20]) != nil)
        #expect(bench.window.segment(.video, epoch: 3, sequence: all[0]) == nil)
        #expect(bench.window.segment(.video, epoch: 4, sequence: all[all.count - 20]) == nil)
        let rest = bench.window.removeAll()
        #expect(rest.count { $0.reason == .expired && $0.tag == .video } == 38)
        #expect(bench.window.position == nil && bench.window.playlist(.video) == .wait)
    }

    @Test("what a journal kept is listed again, and the stream goes on behind it")
    func restoring() throws {
        let before = try self.live()
        var window = StreamWindow(configuration: .init())
        for tracks in before.tracks { window.restore(tracks.facts) }
        for segment in before.segments { window.restore(segment.facts) }
        let old = try self.playlist(before.window.playlist(.video))
        let new = try self.playlist(window.playlist(.video))
        #expect(new.mediaSequence == old.mediaSequence && new.segments.map(\.uri) == old.segments.map(\.uri))
        #expect(new.segments.allSatisfy(\.parts.isEmpty) && new.preloadHints.isEmpty)
        #expect(!window.isLive && window.position?.nextSequence == old.mediaSequence + 6)
        // A crash lost the last segment of audio: its number is a gap, and nothing before it is forgotten.
        var torn = StreamWindow(configuration: .init())
        for tracks in before.tracks { torn.restore(tracks.facts) }
        for segment in before.segments.dropLast() { torn.restore(segment.facts) }
        #expect(before.segments.last?.facts.tag == .audio)
        var next = try Bench(
            position: torn.position, now: before.nowMillis + 5000, video: Make.h264(), audio: Make.aac())
        next.window = torn
        next.begin(epoch: 8)
        next.play(seconds: 4)
        let audio = try self.playlist(next.window.playlist(.audio))
        let video = try self.playlist(next.window.playlist(.video))
        #expect(audio.mediaSequence == video.mediaSequence && audio.segments.map(\.isGap).contains(true))
        #expect(audio.segments.map(\.isDiscontinuity) == video.segments.map(\.isDiscontinuity))
    }

    @Test("a hole that nothing explains forgets what is before it")
    func hole() throws {
        let bench = try self.live()
        var window = bench.window
        var far = try #require(bench.segments(.video).last)
        far.facts.sequence += 100
        window.append(.segment(far))
        #expect(try self.playlist(window.playlist(.video)).segments.count == 1)
        #expect(window.evict().contains { $0.reason == .expired && $0.tag == .video })
        // What comes again, or from before, is not taken.
        window.append(.segment(far))
        #expect(try self.playlist(window.playlist(.video)).segments.count == 1)
    }

    @Test("every visible change is a new generation")
    func generations() throws {
        var bench = try self.live()
        let before = bench.window.generation
        bench.play(from: 20.7, seconds: 0.5)
        #expect(bench.window.generation > before)
    }
}

@Suite("Manifests and variants")
struct ManifestTests {
    @Test("a manifest has a period for each run, whose timelines tell what is listed")
    func manifest() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac(rate: 44_100))
        bench.begin(epoch: 3)
        bench.play(seconds: 12, sampleRate: 44_100)
        bench.end()
        bench.begin(epoch: 5)
        bench.play(from: 12, seconds: 4.5, sampleRate: 44_100)
        let manifest = try #require(bench.window.manifest(folder: "game 1", nowMillis: Bench.start + 17_000))
        #expect(manifest.periods.map(\.id) == ["3-0", "5-0"])
        let (first, second) = (manifest.periods[0], manifest.periods[1])
        #expect(first.start.micros == Bench.start * 1000)
        #expect(second.start.micros >= (first.start + (first.duration ?? .zero)).micros && second.duration == nil)
        #expect(first.adaptationSets.map(\.content) == [.video, .audio])
        let video = try #require(first.adaptationSets.first?.representations.first)
        #expect(video.codecs == "avc1.64000c" && video.segments.timescale == 90_000)
        #expect(video.segments.media == "game%201/_video-3-$Number$.m4s")
        #expect(video.segments.initialization == "game%201/_video-3-init0.mp4")
        #expect(video.format == .video(width: 320, height: 180, frameRate: .init(numerator: 25)))
        let later = try #require(second.adaptationSets.first?.representations.first)
        #expect(later.segments.presentationTimeOffset == 12 * 90_000)
        #expect(
            later.segments.timeline.runs.map(\.duration) == [180_000] && later.segments.timeline.runs[0].repeats == 1)
        // The same period begins at the same time when its first segments have left.
        bench.play(from: 16.5, seconds: 20, sampleRate: 44_100)
        let next = try #require(bench.window.manifest(folder: "game 1", nowMillis: Bench.start + 40_000))
        #expect(next.periods.last?.start == second.start && next.periods.last?.id == second.id)
        let rest = try #require(next.periods.last?.adaptationSets.first?.representations.first)
        #expect(
            rest.segments.presentationTimeOffset == 12 * 90_000
                && rest.segments.startNumber > later.segments.startNumber)
        var buffer = ByteBuffer()
        next.write(into: &buffer)
        #expect(String(buffer: buffer).contains("availabilityStartTime=\"1970-01-01T00:00:00"))
    }

    @Test("a variant's bandwidth, frame rate and codecs are measured")
    func variant() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        #expect(bench.window.variant() == nil)
        bench.play(seconds: 20, fps: 29.97, gop: 60)
        let facts = try #require(bench.window.variant())
        #expect(facts.video == .init(codecs: ["avc1.64000c"], width: 320, height: 180, frameRateMilli: 29_970))
        #expect(facts.audio == .init(codecs: ["mp4a.40.2"], channels: 2, sampleRate: 48_000))
        let bytes = bench.segments.suffix(12).reduce(0) { $0 + $1.facts.byteCount }
        #expect(abs(facts.averageBandwidth - bytes * 8 / 12) < bytes / 12)
        #expect(facts.peakBandwidth >= facts.averageBandwidth && facts.isIndependent)
        let playlist = MultivariantPlaylist(members: [VariantMember(folder: "game", facts: facts)])
        #expect(playlist.variants.map(\.uri) == ["game/_video.m3u8"])
        #expect(playlist.variants.first?.audioGroup == "audio")
        #expect(playlist.variants.first?.codecs == ["avc1.64000c", "mp4a.40.2"])
        #expect(playlist.audioRenditions.map(\.uri) == ["game/_audio.m3u8"])
    }

    @Test("a group has a variant for each member, the highest first, each with its own audio")
    func group() throws {
        func facts(_ height: Int, _ bandwidth: Int) -> VariantFacts {
            VariantFacts(
                container: .fragmentedMP4, video: .init(codecs: ["avc1"], width: height * 16 / 9, height: height),
                audio: .init(codecs: ["mp4a.40.2"], channels: 2), peakBandwidth: bandwidth,
                averageBandwidth: bandwidth, isIndependent: true)
        }
        let playlist = MultivariantPlaylist(members: [
            .init(folder: "game_480", facts: facts(480, 1_000_000)),
            .init(folder: "game:1080", facts: facts(1080, 5_000_000)),
        ])
        #expect(playlist.variants.map(\.uri) == ["game%3A1080/_video.m3u8", "game_480/_video.m3u8"])
        #expect(playlist.variants.map(\.audioGroup) == ["audio-game:1080", "audio-game_480"])
        #expect(playlist.audioRenditions.count == 2 && playlist.hasIndependentSegments)
        let transport = VariantFacts(
            container: .mpegTS, video: .init(codecs: ["avc1", "mp4a.40.2"]), audio: nil, peakBandwidth: 1,
            averageBandwidth: 1, isIndependent: true)
        let other = MultivariantPlaylist(members: [.init(folder: "a", facts: transport)])
        #expect(other.variants.map(\.uri) == ["a/_main.m3u8"] && other.audioRenditions.isEmpty)
        #expect(MultivariantPlaylist(members: []).variants.isEmpty)
    }
}

private enum WindowTestError: Error { case noPlaylist }

extension PlaylistAnswer {
    fileprivate var isDelta: Bool {
        guard case .playlist(_, .some) = self else { return false }
        return true
    }
}
