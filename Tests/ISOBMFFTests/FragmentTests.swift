import Media
import NIOCore
import Testing

@testable import ISOBMFF

@Suite("Boxes")
struct BoxTests {
    @Test("a header tells size and length in its three forms, and is nothing where it is cut off")
    func headers() throws {
        let short = ByteBuffer(bytes: [0, 0, 0, 12, 0x66, 0x72, 0x65, 0x65, 1, 2, 3, 4])
        #expect(try BoxHeader(short, offset: 0)?.size == 12)
        let long = ByteBuffer(bytes: [0, 0, 0, 1, 0x66, 0x72, 0x65, 0x65, 0, 0, 0, 1, 0, 0, 0, 0])
        let header = try BoxHeader(long, offset: 0)
        #expect(header?.size == 1 << 32 && header?.length == 16 && header?.type == "free")
        let open = ByteBuffer(bytes: [0, 0, 0, 0, 0x66, 0x72, 0x65, 0x65])
        #expect(try BoxHeader(open, offset: 0)?.size == nil)
        for count in 0..<16 { #expect(try BoxHeader(long.prefix(count), offset: 0) == nil) }
    }

    @Test("sizes below the header's own, and beyond what holds the box, are refused")
    func sizes() throws {
        for size: UInt8 in 2..<8 {
            let bytes = ByteBuffer(bytes: [0, 0, 0, size, 0x66, 0x72, 0x65, 0x65])
            #expect(throws: ISOBMFFError.invalidBoxSize("free", size: UInt64(size), offset: 7)) {
                try BoxHeader(bytes, offset: 7)
            }
        }
        for size: UInt64 in [0, 15, 1 << 63] {
            var bytes = ByteBuffer(bytes: [0, 0, 0, 1, 0x66, 0x72, 0x65, 0x65])
            bytes.writeInteger(size)
            #expect(throws: ISOBMFFError.invalidBoxSize("free", size: size, offset: 0)) {
                try BoxHeader(bytes, offset: 0)
            }
        }
        var reader = BoxReader(ByteBuffer(bytes: [0, 0, 0, 9, 0x66, 0x72, 0x65, 0x65]), offset: 100)
        #expect(throws: ISOBMFFError.invalidBoxSize("free", size: 9, offset: 100)) { try reader.next() }
    }

    @Test("a reader gives boxes with their places, and a cut header is an error")
    func reading() throws {
        var bytes = ByteBuffer()
        bytes.box("aaaa", [1, 2, 3])
        bytes.box("bbbb", [])
        var reader = BoxReader(bytes, offset: 50)
        let first = try reader.next()
        #expect(first?.type == "aaaa" && first?.offset == 50 && first?.payloadOffset == 58)
        #expect(first?.payload == ByteBuffer(bytes: [1, 2, 3]))
        #expect(try reader.next()?.offset == 61)
        #expect(try reader.next() == nil)
        var cut = BoxReader(bytes.prefix(14))
        _ = try cut.next()
        #expect(throws: ISOBMFFError.truncated("box ", offset: 11, needed: 8, available: 3)) { try cut.next() }
    }

    @Test("types print as characters, or as a number")
    func types() {
        #expect("\(BoxType.moov)" == "moov")
        #expect("\(BoxType(rawValue: 1))" == "0x1")
    }
}

@Suite("Movie fragments")
struct FragmentTests {
    private func written(_ samples: [MP4Sample], decodeTime: UInt64 = 7) -> ByteBuffer {
        var buffer = ByteBuffer()
        FragmentedMP4.write(
            [FragmentedMP4.Fragment(trackID: 1, decodeTime: decodeTime, samples: samples)], sequence: 3, into: &buffer)
        return buffer
    }

    @Test("a fragment of one keyframe and two others has exactly these bytes")
    func bytes() {
        let samples = Make.samples(3, bytes: 2, offsets: [0, 7200, -3600])
        let boxes = [
            "0000007c6d6f6f66", "000000106d6668640000000000000003", "0000006474726166",
            // Base is the moof; one duration; others than the first are no sync samples.
            "00000018746668640002002800000001" + "00000e1001010000",
            "0000001474666474010000000000000000000007",
            "000000307472756e01000a0500000003" + "0000008402000000",
            "0000000200000000" + "0000000200001c20" + "00000002fffff1f0",
            "0000000e6d646174" + "000001010202",
        ]
        #expect(self.written(samples).hex == boxes.joined())
    }

    @Test(
        "what is written is read back, in all shapes of runs",
        arguments: [
            (1, [0], false), (3, [0], false), (3, [0], true), (5, [7200, 0, -3600], false), (0, [0], true),
        ] as [(Int, [Int32], Bool)])
    func roundTrip(count: Int, offsets: [Int32], allSync: Bool) throws {
        let reader = try FragmentReader(initialization: FragmentedMP4.initialization(tracks: [try Make.video()]))
        var samples = Make.samples(count, offsets: offsets, allSync: allSync)
        for variant in 0..<4 {
            if variant == 1, count > 1 { samples[1].duration = 1 }
            if variant == 2, count > 2 { samples[2].isSync = true }
            if variant == 3, count > 0 { samples[0].isSync = false }
            let fragment = FragmentedMP4.Fragment(trackID: 1, decodeTime: 1 << 40, samples: samples)
            var bytes = ByteBuffer()
            FragmentedMP4.write([fragment], sequence: 1, into: &bytes)
            #expect(try reader.fragments(in: bytes) == [fragment])
            for length in 1..<bytes.readableBytes where count > 0 {
                #expect(throws: ISOBMFFError.self) { try reader.fragments(in: bytes.prefix(length)) }
            }
        }
    }

    @Test("tracks that the initialization segment does not name are passed over")
    func unknownTrack() throws {
        let reader = try FragmentReader(initialization: FragmentedMP4.initialization(tracks: [try Make.audio(id: 9)]))
        #expect(try reader.fragments(in: self.written(Make.samples(2))) == [])
    }

    @Test("two tracks, a segment type and messages are written in order")
    func segment() throws {
        let tracks = [try Make.video(), try Make.audio()]
        let reader = try FragmentReader(initialization: FragmentedMP4.initialization(tracks: tracks))
        #expect(reader.tracks == tracks)
        let fragments = [
            FragmentedMP4.Fragment(trackID: 1, decodeTime: 5, samples: Make.samples(4)),
            FragmentedMP4.Fragment(trackID: 2, decodeTime: 6, samples: Make.samples(7, bytes: 3, allSync: true)),
        ]
        let event = FragmentedMP4.EventMessage(
            schemeID: "https://aomedia.org/emsg/ID3", value: "1", timescale: 90_000, presentationTime: 1 << 33,
            duration: .max, id: 4, payload: ByteBuffer(string: "ID3"))
        var bytes = ByteBuffer(string: "before")
        FragmentedMP4.write(fragments, sequence: 1, styp: true, events: [event, event], into: &bytes)
        #expect(bytes.readString(length: 6) == "before")
        bytes = bytes.slice()
        #expect(try reader.fragments(in: bytes) == fragments)
        #expect(try reader.events(in: bytes) == [event, event])
        var types: [BoxType] = []
        var boxes = BoxReader(bytes)
        while let box = try boxes.next() { types.append(box.type) }
        #expect(types == ["styp", "emsg", "emsg", "moof", "mdat"])
    }

    @Test("writing takes room once")
    func budget() {
        let events = [
            FragmentedMP4.EventMessage(
                schemeID: "urn:x", timescale: 1, presentationTime: 0, duration: 0, id: 0,
                payload: ByteBuffer(string: "abc"))
        ]
        let fragments = [
            FragmentedMP4.Fragment(trackID: 1, decodeTime: 0, samples: Make.samples(100, offsets: [1, 2])),
            FragmentedMP4.Fragment(trackID: 2, decodeTime: 0, samples: Make.samples(50)),
        ]
        var first = ByteBuffer()
        FragmentedMP4.write(fragments, sequence: 1, styp: true, events: events, into: &first)
        var second = ByteBuffer()
        second.reserveCapacity(first.readableBytes)
        let room = second.capacity
        FragmentedMP4.write(fragments, sequence: 1, styp: true, events: events, into: &second)
        #expect(second.capacity == room && first.capacity == room)
    }

    @Test("data offsets follow the flags of the header: explicit base, start of the fragment, track before")
    func bases() throws {
        let extends: [UInt32: TrackExtends] = [1: TrackExtends(duration: 10, size: 4, flags: 0)]
        func fragment(_ flags: UInt32, _ extra: [UInt32], runs: Int) throws -> MovieFragment {
            var buffer = ByteBuffer()
            buffer.writeBox(.moof) { buffer in
                for _ in 0..<2 {
                    buffer.writeBox(.traf) { buffer in
                        buffer.writeFullBox(.tfhd, flags: flags) {
                            $0.writeInteger(UInt32(1))
                            for word in extra { $0.writeInteger(word) }
                        }
                        for _ in 0..<runs { buffer.writeFullBox(.trun) { $0.writeInteger(UInt32(2)) } }
                    }
                }
            }
            var reader = BoxReader(buffer, offset: 1000)
            let box = try #require(try reader.next())
            return try MovieFragment(reading: box, extends: extends, maximumSamples: 100)
        }
        func offsets(_ fragment: MovieFragment) -> [[Int64]] { fragment.tracks.map { $0.samples.map(\.offset) } }
        #expect(offsets(try fragment(0, [], runs: 1)) == [[1000, 1004], [1008, 1012]])
        #expect(offsets(try fragment(0x2_0000, [], runs: 1)) == [[1000, 1004], [1000, 1004]])
        #expect(offsets(try fragment(1, [0, 77], runs: 2)) == [[77, 81, 85, 89], [77, 81, 85, 89]])
        #expect(try fragment(0x8 | 0x10, [3, 9], runs: 1).tracks[0].samples.last?.offset == 1009)
        #expect(try fragment(0, [], runs: 1).tracks[0].samples.last?.duration == 10)
    }

    @Test("more samples than the limit are refused, although they take no bytes")
    func sampleLimit() throws {
        var buffer = ByteBuffer()
        buffer.writeBox(.moof) { buffer in
            buffer.writeBox(.traf) { buffer in
                buffer.writeFullBox(.tfhd) { $0.writeInteger(UInt32(1)) }
                buffer.writeFullBox(.trun) { $0.writeInteger(UInt32.max) }
            }
        }
        var reader = BoxReader(buffer)
        let box = try #require(try reader.next())
        #expect(throws: ISOBMFFError.tooMany(.trun, count: Int64(UInt32.max), limit: 100)) {
            try MovieFragment(reading: box, extends: [1: TrackExtends()], maximumSamples: 100)
        }
    }
}
