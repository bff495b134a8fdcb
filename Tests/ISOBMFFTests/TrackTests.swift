import Media
import NIOCore
import Testing

@testable import ISOBMFF

@Suite("Sample entries")
struct TrackTests {
    private func track(_ codec: Codec, _ record: [UInt8]?) throws -> Track {
        try Track(codec: codec, parsingConfiguration: record.map { ByteBuffer(bytes: $0) })
    }

    private func read(_ track: MP4Track) throws -> MP4Track? {
        try MP4Index(FragmentedMP4.initialization(tracks: [track])).tracks.first?.track
    }

    @Test("codecs without a mapping are refused, all others are not")
    func support() {
        for codec in Codec.allCases where !MP4Track.supports(codec) {
            let track = Track(
                codec: codec, configuration: nil, format: .audio(AudioFormat(sampleRate: 8000, channels: 1)))
            #expect(throws: ISOBMFFError.unsupportedCodec(codec)) { try MP4Track(id: 1, timescale: 1, track: track) }
        }
        #expect(Codec.allCases.filter { !MP4Track.supports($0) } == [.g711ALaw, .g711MuLaw, .speex])
    }

    @Test("a record that is missing, broken or too little to describe the sound is an error")
    func errors() {
        for codec in [Codec.h264, .hevc, .av1, .vp9, .aac, .opus, .flac] {
            let format: Track.Format =
                codec.kind == .video ? .video(VideoFormat()) : .audio(AudioFormat(sampleRate: 48_000, channels: 2))
            let missing = Track(codec: codec, configuration: nil, format: format)
            #expect(throws: ISOBMFFError.configuration(codec, .missingConfiguration(codec))) {
                try MP4Track(id: 1, timescale: 1, track: missing)
            }
            let broken = Track(codec: codec, configuration: ByteBuffer(bytes: [1]), format: format)
            #expect(throws: ISOBMFFError.self) { try MP4Track(id: 1, timescale: 1, track: broken) }
        }
        let mp3 = Track(codec: .mp3, configuration: nil, format: .audio(AudioFormat(sampleRate: 44_100)))
        #expect(throws: ISOBMFFError.missingFormat(.mp3)) { try MP4Track(id: 1, timescale: 1, track: mp3) }
        let ac3 = Track(codec: .ac3, configuration: nil, format: .audio(AudioFormat(channels: 2)))
        #expect(throws: ISOBMFFError.missingFormat(.ac3)) { try MP4Track(id: 1, timescale: 1, track: ac3) }
        let good = Track(codec: .ac3, configuration: nil, format: .audio(AudioFormat(sampleRate: 48_000, channels: 2)))
        #expect(throws: ISOBMFFError.configuration(.ac3, .badSignature(offset: 0))) {
            try MP4Track(id: 1, timescale: 1, track: good, describedBy: ByteBuffer(repeating: 7, count: 8))
        }
    }

    @Test("H.264 without parameter sets becomes avc3, with them avc1")
    func parameterSetsInBand() throws {
        #expect(try Make.video().sampleEntryType == "avc1")
        let bare = try MP4Track(id: 1, timescale: 1, track: self.track(.h264, [1, 0x64, 0, 0x0C, 0xFF, 0xE0, 0]))
        #expect(bare.sampleEntryType == "avc3")
        #expect(try self.read(bare) == bare)
    }

    @Test("HEVC's arrays of parameter sets are complete in hvc1, and the rest of the record is kept")
    func completeArrays() throws {
        var record: [UInt8] = [
            0, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x5D, 0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F,
        ]
        record += [
            4, 32, 0, 1, 0, 2, 0x40, 1, 33, 0, 1, 0, 2, 0x42, 1, 34, 0, 1, 0, 2, 0x44, 1, 39, 0, 1, 0, 2, 0x4E, 1,
        ]
        let own = try MP4Track(id: 1, timescale: 1, track: self.track(.hevc, record))
        #expect(own.sampleEntryType == "hvc1")
        var expected = record
        expected[0] = 1
        for position in [23, 30, 37] { expected[position] |= 0x80 }
        #expect(try self.read(own)?.track.configuration == ByteBuffer(bytes: expected))
        record[22] = 0
        let bare = try MP4Track(id: 1, timescale: 1, track: self.track(.hevc, Array(record.prefix(23))))
        #expect(bare.sampleEntryType == "hev1")
    }

    @Test("VP8 and VP9 get their size from a key frame where the track does not know it")
    func sizes() throws {
        let vp9 = try self.track(.vp9, [0, 31, 0x82, 2, 2, 2, 0, 0])
        // Frame marker, profile 0, key frame, sync code, colour space 2 in studio range, 640 × 360.
        let frame = ByteBuffer(bytes: [0x82, 0x49, 0x83, 0x42, 0x40, 0x27, 0xF0, 0x16, 0x70])
        let known = try MP4Track(id: 1, timescale: 1, track: vp9, describedBy: frame)
        guard case .video(let format)? = try self.read(known)?.track.format else { throw Missing() }
        #expect(format.width == 640 && format.height == 360)
        #expect(SampleEntryWriter.pictureSize(ofEntry: try MP4Track(id: 1, timescale: 1, track: vp9)) == (0, 0))
        for length in 0..<8 { #expect(VP9KeyframeHeader.size(of: frame.prefix(length)) == nil) }
        var between = frame
        between.setInteger(UInt8(0x86), at: 0)
        #expect(VP9KeyframeHeader.size(of: between) == nil)
        let vp8 = Track(codec: .vp8, configuration: nil, format: .video(VideoFormat(width: 320, height: 180)))
        let written = try MP4Track(id: 1, timescale: 1, track: vp8)
        guard case .video(let other)? = try self.read(written)?.track.format else { throw Missing() }
        #expect(other.width == 320 && other.height == 180)
    }

    @Test("AC-3 is described by its rate and channels where no frame is given")
    func ac3() throws {
        for (codec, rate, channels) in [
            (Codec.ac3, 48_000, 6), (.ac3, 44_100, 2), (.ac3, 32_000, 1), (.eac3, 48_000, 6),
        ] {
            let format = AudioFormat(sampleRate: rate, channels: channels, samplesPerFrame: 1536)
            let track = Track(codec: codec, configuration: nil, format: .audio(format))
            let read = try self.read(MP4Track(id: 1, timescale: 1, track: track))
            #expect(read?.track == track)
        }
    }

    @Test("records with surround sound and high rates go there and back")
    func audioRecords() throws {
        var head = Array("OpusHead".utf8) + [1, 6, 0x38, 1, 0x80, 0xBB, 0, 0, 0x34, 0x12, 1]
        head += [4, 2, 0, 4, 1, 2, 3, 5]
        let opus = try self.track(.opus, head)
        #expect(try self.read(MP4Track(id: 1, timescale: 48_000, track: opus))?.track == opus)
        var info = ByteBuffer()
        // 4096 samples a block, 96 kHz, 2 channels, 24 bits.
        info.writeMultipleIntegers(UInt16(4096), UInt16(4096), UInt16(0), UInt32(0), UInt64(0x1770_0370_0000_0000))
        info.writeRepeatingByte(0, count: 16)
        let flac = try Track(codec: .flac, parsingConfiguration: info)
        #expect(flac.format == .audio(AudioFormat(sampleRate: 96_000, channels: 2, samplesPerFrame: 4096)))
        let written = try MP4Track(id: 1, timescale: 96_000, track: flac)
        #expect(try self.read(written)?.track == flac)
        #expect(written.sampleEntry.getInteger(at: 32, as: UInt32.self) == 48_000 << 16)
    }

    @Test("an encrypted track and one in an unknown codec are left out and counted")
    func unknown() throws {
        let bytes = FragmentedMP4.initialization(tracks: [try Make.video(), try Make.audio()])
        for (from, to) in [("avc1", "encv"), ("avc1", "mp4v"), ("vide", "text")] {
            var changed = bytes
            // The brand comes first where it has the same name.
            let stsd = try #require(bytes.offset(of: from == "vide" ? "hdlr" : "stsd"))
            let tail = bytes.getSlice(at: stsd, length: bytes.readableBytes - stsd) ?? ByteBuffer()
            changed.setString(to, at: stsd + (try #require(tail.offset(of: from))))
            let index = try MP4Index(changed)
            #expect(index.ignoredTracks == 1 && index.tracks.map(\.track.id) == [2])
        }
    }

    @Test("every cut and every changed byte of an initialization segment gives a result or an error, never a trap")
    func total() throws {
        let bytes = FragmentedMP4.initialization(tracks: [try Make.video(), try Make.audio()])
        for length in 0..<bytes.readableBytes {
            #expect(throws: ISOBMFFError.self) { try FragmentReader(initialization: bytes.prefix(length)) }
        }
        for index in 0..<bytes.readableBytes {
            for value: UInt8 in [0, 1, 0x7F, 0xFF] {
                var changed = bytes
                changed.setInteger(value, at: index)
                _ = try? FragmentReader(initialization: changed)
            }
        }
    }

    private struct Missing: Error {}
}
