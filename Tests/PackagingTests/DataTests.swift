import AMF
import ISOBMFF
import MPEGTS
import Media
import NIOCore
import Playlists
import Testing

@testable import Packaging

@Suite("Data messages, transport streams, settings")
struct DataTests {
    private func message(_ name: String, _ value: AMFValue, at ticks: Int64 = 0) -> TimedData {
        var payload = ByteBuffer()
        AMF0.write(value, into: &payload)
        return TimedData(name: name, time: MediaTime(ticks: ticks), payload: payload)
    }

    @Test("members become attributes, nested ones under joined names, all bounded")
    func attributes() throws {
        let value = AMFValue.object([
            AMFProperty("name", "ad \"1\""), AMFProperty("time", 1.5), AMFProperty("live", true),
            AMFProperty("parameters", .object([AMFProperty("break id", 7), AMFProperty("none", .null)])),
            AMFProperty("long", .string(String(repeating: "ä", count: 1000))),
        ])
        let message = try #require(TimedDataReader.read(self.message("onCuePoint", value)))
        #expect(message.name == "onCuePoint")
        #expect(message.attributes.map(\.name) == ["X-NAME", "X-TIME", "X-LIVE", "X-PARAMETERS-BREAK-ID", "X-LONG"])
        #expect(message.attributes[0].value == .text("ad \"1\"") && message.attributes[1].value == .number(milli: 1500))
        #expect(message.attributes[3].value == .number(milli: 7000))
        guard case .text(let long) = message.attributes[4].value else { throw DataTestError.notText }
        #expect(long.utf8.count == 512)
        let frames = try #require(ID3Tag.frames(in: message.id3))
        #expect(frames.first == .text(name: "onCuePoint.name", value: "ad \"1\""))
        #expect(frames[1] == .text(name: "onCuePoint.time", value: "1.5"))
        let many = AMFValue.object((0..<100).map { AMFProperty("m\($0)", .number(Double($0))) })
        #expect(TimedDataReader.read(self.message("m", many))?.attributes.count == 24)
        let twice = AMFValue.object([AMFProperty("a b", 1), AMFProperty("a-b", 2)])
        #expect(TimedDataReader.read(self.message("m", twice))?.attributes.count == 1)
        #expect(TimedDataReader.read(self.message("m", "text"))?.attributes.map(\.name) == ["X-VALUE"])
        #expect(TimedDataReader.read(TimedData(name: "m", time: .zero, payload: .init()))?.attributes.isEmpty == true)
    }

    @Test("what is no AMF, or is too much, is no message")
    func refused() {
        #expect(TimedDataReader.read(TimedData(name: "a", time: .zero, payload: ByteBuffer(bytes: [0xFF]))) == nil)
        #expect(TimedDataReader.read(TimedData(name: "", time: .zero, payload: .init())) == nil)
        let big = TimedData(name: "a", time: .zero, payload: ByteBuffer(repeating: 5, count: 70_000))
        #expect(TimedDataReader.read(big) == nil)
        let infinite = TimedDataReader.read(self.message("a", .object([AMFProperty("x", .number(.infinity))])))
        #expect(infinite?.attributes.isEmpty == true)
        for count in 0..<12 {
            var payload = self.message("a", .object([AMFProperty("x", 1)])).payload
            payload = payload.readSlice(length: count) ?? payload
            _ = TimedDataReader.read(TimedData(name: "a", time: .zero, payload: payload))
        }
    }

    @Test("numbers print without needless zeros")
    func numbers() {
        for (milli, text) in [(0, "0"), (1000, "1"), (-1500, "-1.5"), (5, "0.005"), (12_340, "12.34")]
            as [(Int64, String)]
        {
            #expect(TimedDataFacts.Attribute.Value.number(milli: milli).text == text)
        }
    }

    @Test("a message is a date range in the playlists and an event in front of its part")
    func dateRange() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin(epoch: 2)
        bench.play(seconds: 4.4)
        bench.send(.data(self.message("onCuePoint", .object([AMFProperty("name", "goal")]), at: 4360 * 90)))
        bench.play(from: 4.4, seconds: 4)
        guard case .playlist(let playlist, _) = bench.window.playlist(.audio) else { throw DataTestError.noPlaylist }
        #expect(playlist.dateRanges.count == 1)
        #expect(playlist.dateRanges.first?.startMillis == Bench.start + 4360)
        #expect(playlist.dateRanges.first?.classIdentifier == "onCuePoint")
        #expect(playlist.dateRanges.first?.attributes == [.init(name: "X-NAME", value: .text("goal"))])
        let reader = try FragmentReader(initialization: try #require(bench.tracks.first?.initialization))
        let events = try bench.segments(.video).flatMap { try reader.events(in: $0.bytes) }
        #expect(events.map(\.presentationTime) == [4360 * 90])
        #expect(events.first?.schemeID == "https://aomedia.org/emsg/ID3")
        // It leaves with the segment that it is in.
        bench.play(from: 8.4, seconds: 60)
        guard case .playlist(let later, _) = bench.window.playlist(.audio) else { throw DataTestError.noPlaylist }
        #expect(later.dateRanges.isEmpty)
        #expect(bench.packager.counters.droppedData == 0)
    }

    @Test("transport streams hold every frame once, in segments that begin with tables and a keyframe")
    func transportStream() throws {
        var bench = try Bench(.init(container: .mpegTS), video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 6)
        bench.send(.data(self.message("onTextData", .object([AMFProperty("text", "hello")]), at: 6 * 90_000)))
        bench.play(from: 6, seconds: 4)
        bench.end()
        #expect(bench.segments.map(\.facts.tag) == Array(repeating: .main, count: 5))
        #expect(bench.segments.map(\.facts.duration).dropLast().allSatisfy { $0 == 180_000 })
        #expect(bench.segments.map(\.facts.frameCount) == [50, 50, 50, 50, 50])
        #expect(bench.segments.allSatisfy { $0.facts.isIndependent && $0.facts.byteCount % 188 == 0 })
        #expect(bench.tracks.map(\.facts.codecs) == [["avc1.64000c", "mp4a.40.2"]])
        for segment in bench.segments {
            #expect(segment.bytes.getInteger(at: 0, as: UInt32.self).map { $0 & 0xFFFF_FF00 } == 0x4740_0000)
        }
        #expect(bench.packager.counters.droppedFrames == 0)
        let variant = try #require(bench.window.variant())
        #expect(variant.video?.codecs == ["avc1.64000c", "mp4a.40.2"] && variant.video?.frameRateMilli == 25_000)
    }

    @Test("transport streams pass over silence, blackouts, stalls and new tracks")
    func transportStreamManners() throws {
        var bench = try Bench(.init(container: .mpegTS), video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 5)
        bench.play(from: 5, seconds: 10, kinds: [.video])
        bench.play(from: 15, seconds: 10, kinds: [.audio])
        bench.play(from: 25, seconds: 5)
        bench.play(from: 45, seconds: 5)
        bench.change(video: try Make.h264(level: 0x1F))
        bench.play(from: 50, seconds: 5)
        bench.change(audio: try Make.aac(rate: 44_100))
        bench.play(from: 55, seconds: 5, sampleRate: 44_100)
        bench.end()
        let facts = bench.segments(.main).map(\.facts)
        for (one, other) in zip(facts, facts.dropFirst()) {
            #expect(other.sequence == one.sequence + 1)
            #expect(other.programDateTimeMillis >= one.programDateTimeMillis)
            #expect(other.playlistDuration.roundedSeconds <= other.targetDurationSeconds, "\(other)")
        }
        #expect(facts.count { $0.isDiscontinuity } == 3)
        #expect(abs((facts.last?.endMillis ?? 0) - Bench.start - 60_000) < 50)
    }

    @Test("a configuration that cannot work is refused with the field that is wrong")
    func configuration() throws {
        func refused(_ change: (inout PackagingConfiguration) -> Void) -> PackagingConfigurationError.Field? {
            var configuration = PackagingConfiguration()
            change(&configuration)
            do throws(PackagingConfigurationError) {
                try configuration.validate()
                return nil
            } catch {
                guard case .outOfRange(let field, _, _, _) = error else { return nil }
                return field
            }
        }
        #expect(refused { _ in } == nil)
        #expect(refused { $0.segmentDurationMillis = 499 } == .segmentDuration)
        #expect(refused { $0.partDurationMillis = 2001 } == .partDuration)
        #expect(refused { $0.partDurationMillis = 10 } == .partDuration)
        #expect(refused { $0.partDurationMillis = nil } == nil)
        #expect(refused { $0.windowMillis = 1999 } == .window)
        #expect(refused { $0.minimumWindowSegments = 2 } == .minimumWindowSegments)
        #expect(refused { $0.dvrWindowMillis = -1 } == .dvrWindow)
        #expect(refused { $0.maximumSegmentRatio = 1 } == .maximumSegmentRatioMilli)
        #expect(refused { $0.maximumSegmentRatio = .nan } == .maximumSegmentRatioMilli)
        #expect(refused { $0.segmentsPerKey = 0 } == .segmentsPerKey)
        #expect(refused { $0.trackWaitMillis = -1 } == .trackWait)
        #expect(refused { $0.maximumSkewMillis = 100 } == .maximumSkew)
        #expect(refused { $0.maximumHeldFrames = 1 } == .maximumHeldFrames)
        #expect(refused { $0.maximumHeldBytes = 1 } == .maximumHeldBytes)
    }

    @Test("audio frames tell their length")
    func lengths() throws {
        func samples(_ codec: Codec, _ bytes: [UInt8], _ perFrame: Int? = nil) -> Int? {
            AudioFrameLength.samples(
                of: ByteBuffer(bytes: bytes),
                in: Track(
                    codec: codec, configuration: nil,
                    format: .audio(AudioFormat(sampleRate: 48_000, channels: 2, samplesPerFrame: perFrame))))
        }
        #expect(samples(.aac, []) == 1024 && samples(.aac, [], 2048) == 2048)
        // 20 ms CELT; two of 60 ms SILK; three of 10 ms by count; more than 120 ms; nothing.
        #expect(samples(.opus, [0xF8]) == 960 && samples(.opus, [0x19]) == 5760)
        #expect(samples(.opus, [0x83, 3]) == 360 && samples(.opus, [0x1B, 3]) == nil && samples(.opus, []) == nil)
        #expect(samples(.opus, [0x83]) == nil && samples(.opus, [0x83, 0]) == nil)
        #expect(samples(.ac3, []) == 1536)
        #expect(samples(.mp3, [0xFF, 0xFB, 0x90, 0x64]) == 1152 && samples(.mp3, [], 576) == 576)
        // FLAC: by code, and by 8 and 16 bits behind the frame number.
        #expect(samples(.flac, [0xFF, 0xF8, 0xC9, 0x18, 0]) == 4096)
        #expect(
            samples(.flac, [0xFF, 0xF8, 0x19, 0x18, 0]) == 192 && samples(.flac, [0xFF, 0xF8, 0x29, 0x18, 0]) == 576)
        #expect(samples(.flac, [0xFF, 0xF8, 0x69, 0x18, 0x05, 0x63]) == 100)
        #expect(samples(.flac, [0xFF, 0xF8, 0x79, 0x18, 0xC2, 0x80, 0x0F, 0xFF]) == 4096)
        #expect(samples(.flac, [0xFF, 0xF8, 0x79, 0x18, 0xFF]) == nil && samples(.flac, [1, 2, 3, 4], 500) == 500)
    }
}

private enum DataTestError: Error { case notText, noPlaylist }
