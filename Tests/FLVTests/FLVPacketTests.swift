import FLV
import Media
import NIOCore
import TestSupport
import Testing

@Suite struct FLVVideoPacketTests {
    private func frame(
        _ codec: Codec, track: UInt8 = 0, keyframe: Bool, offset: Int32 = 0, _ payload: String
    ) -> FLVVideoPacket {
        .frame(
            codec, trackID: track, isKeyframe: keyframe, compositionOffsetMillis: offset, payload: bytes(payload))
    }

    @Test("legacy headers of H.264, HEVC and AV1 share one layout")
    func legacy() throws {
        for (id, codec) in [("7", Codec.h264), ("c", .hevc), ("d", .av1)] {
            #expect(
                try FLVVideoPacket(parsing: bytes("1\(id) 00 000000 0164"))
                    == .configuration(codec, trackID: 0, usesLegacyCodecID: true, record: bytes("0164")))
            #expect(
                try FLVVideoPacket(parsing: bytes("1\(id) 01 000050 aabb"))
                    == self.frame(codec, keyframe: true, offset: 80, "aabb"))
            #expect(
                try FLVVideoPacket(parsing: bytes("2\(id) 01 ffffd8 aa"))
                    == self.frame(codec, keyframe: false, offset: -40, "aa"))
            #expect(try FLVVideoPacket(parsing: bytes("1\(id) 02 000000")) == .ignored(.endOfSequence))
            #expect(try FLVVideoPacket(parsing: bytes("1\(id) 02")) == .ignored(.endOfSequence))
        }
        #expect(try FLVVideoPacket(parsing: bytes("47 01 000000 aa")) == self.frame(.h264, keyframe: true, "aa"))
    }

    @Test("what carries no picture is ignored with its reason")
    func ignored() throws {
        #expect(try FLVVideoPacket(parsing: ByteBuffer()) == .ignored(.empty))
        #expect(try FLVVideoPacket(parsing: bytes("17")) == .ignored(.empty))
        #expect(try FLVVideoPacket(parsing: bytes("27 01 000000")) == .ignored(.empty))
        #expect(try FLVVideoPacket(parsing: bytes("17 00 000000")) == .ignored(.empty))
        #expect(try FLVVideoPacket(parsing: bytes("12 0102")) == .ignored(.unsupportedVideoCodec(id: 2)))
        #expect(try FLVVideoPacket(parsing: bytes("14 0102")) == .ignored(.unsupportedVideoCodec(id: 4)))
        #expect(try FLVVideoPacket(parsing: bytes("57 00")) == .ignored(.command))
        #expect(try FLVVideoPacket(parsing: bytes("d1 00")) == .ignored(.command))
        #expect(try FLVVideoPacket(parsing: bytes("90 76766331 00")) == .ignored(.unsupportedFourCC(0x7676_6331)))
        #expect(try FLVVideoPacket(parsing: bytes("d4 68766331 0200")) == .ignored(.metadata))
        #expect(try FLVVideoPacket(parsing: bytes("95 61763031 80")) == .ignored(.transportStreamConfiguration))
        #expect(try FLVVideoPacket(parsing: bytes("92 61763031")) == .ignored(.endOfSequence))
        #expect(try FLVVideoPacket(parsing: bytes("90 61763031")) == .ignored(.empty))
    }

    @Test("enhanced headers name the codec, and only H.264 and HEVC have a composition offset")
    func enhanced() throws {
        #expect(
            try FLVVideoPacket(parsing: bytes("90 61763031 81000c00"))
                == .configuration(.av1, trackID: 0, usesLegacyCodecID: false, record: bytes("81000c00")))
        #expect(
            try FLVVideoPacket(parsing: bytes("91 68766331 000050 aa"))
                == self.frame(.hevc, keyframe: true, offset: 80, "aa"))
        #expect(
            try FLVVideoPacket(parsing: bytes("a1 61766331 fffff6 aa"))
                == self.frame(.h264, keyframe: false, offset: -10, "aa"))
        #expect(try FLVVideoPacket(parsing: bytes("a3 68766331 aa")) == self.frame(.hevc, keyframe: false, "aa"))
        #expect(
            try FLVVideoPacket(parsing: bytes("91 76703039 000050aa"))
                == self.frame(.vp9, keyframe: true, "000050aa"))
        #expect(try FLVVideoPacket(parsing: bytes("a1 76703038 aa")) == self.frame(.vp8, keyframe: false, "aa"))
    }

    @Test("modifier extensions of any length are passed over")
    func modifierExtensions() throws {
        // Nanosecond offset: 3 bytes of data, type 0, then coded frames.
        #expect(
            try FLVVideoPacket(parsing: bytes("97 02 000064 01 61763031 aa"))
                == self.frame(.av1, keyframe: true, "aa"))
        // Two extensions in a row, the second with a 16-bit length.
        var body = bytes("a7 02 000064 07 ff 00ff")
        body.writeRepeatingByte(9, count: 256)
        body.writeImmutableBuffer(bytes("03 68766331 bb"))
        #expect(try FLVVideoPacket(parsing: body) == self.frame(.hevc, keyframe: false, "bb"))
        #expect(throws: FLVError.truncated(offset: 2, needed: 3, available: 2)) {
            try FLVVideoPacket(parsing: bytes("97 02 0000"))
        }
        #expect(throws: FLVError.truncated(offset: 5, needed: 1, available: 0)) {
            try FLVVideoPacket(parsing: bytes("97 02 000064"))
        }
    }

    @Test("of a multitrack body the lowest track is used")
    func multitrack() throws {
        #expect(
            try FLVVideoPacket(parsing: bytes("96 00 68766331 05 01"))
                == .configuration(.hevc, trackID: 5, usesLegacyCodecID: false, record: bytes("01")))
        #expect(
            try FLVVideoPacket(parsing: bytes("96 11 68766331 02 000004 000050aa 01 000004 fffff6bb"))
                == self.frame(.hevc, track: 1, keyframe: true, offset: -10, "bb"))
        #expect(
            try FLVVideoPacket(parsing: bytes("a6 21 61763031 00 000002 aabb 76703039 01 000001 cc"))
                == self.frame(.av1, track: 0, keyframe: false, "aabb"))
        // 00 in front: one track whose packet type is a modifier extension, or multitrack again.
        for types in ["07", "06", "31"] {
            #expect(throws: FLVError.self) { try FLVVideoPacket(parsing: bytes("96 \(types) 68766331 00 01")) }
        }
        #expect(throws: FLVError.truncated(offset: 10, needed: 5, available: 1)) {
            try FLVVideoPacket(parsing: bytes("96 11 68766331 00 000005 aa"))
        }
        // The composition offset of the chosen track is cut: the error's offset is the body's.
        #expect(throws: FLVError.truncated(offset: 10, needed: 3, available: 1)) {
            try FLVVideoPacket(parsing: bytes("96 11 68766331 00 000001 aa"))
        }
    }

    @Test("undefined packet types are refused")
    func undefined() {
        #expect(throws: FLVError.undefinedValue(3, offset: 1)) { try FLVVideoPacket(parsing: bytes("17 03 000000 aa")) }
        #expect(throws: FLVError.undefinedValue(8, offset: 0)) { try FLVVideoPacket(parsing: bytes("98 61763031 aa")) }
    }

    @Test(
        "a body that is cut anywhere gives a packet or an error, no trap",
        arguments: [
            "17 01 000050 aabb", "90 61763031 81000c00", "91 68766331 000050 aa", "97 02 000064 01 61763031 aa",
            "96 11 68766331 02 000004 000050aa 01 000004 fffff6bb",
        ])
    func cut(body: String) {
        for prefix in prefixes(of: bytes(body)) {
            do throws(FLVError) {
                let packet = try FLVVideoPacket(parsing: prefix)
                #expect(packet != (try? FLVVideoPacket(parsing: bytes(body))))
            } catch {
                guard case .truncated(_, let needed, let available) = error else {
                    Issue.record("a prefix of \(prefix.readableBytes) bytes gave \(error)")
                    continue
                }
                #expect(needed > available)
            }
        }
    }
}

@Suite struct FLVAudioPacketTests {
    private func frame(_ codec: Codec, track: UInt8 = 0, stereo: Bool = false, _ payload: String) -> FLVAudioPacket {
        .frame(codec, trackID: track, isStereo: stereo, payload: bytes(payload))
    }

    @Test("legacy headers name the codec and whether it is stereo")
    func legacy() throws {
        #expect(
            try FLVAudioPacket(parsing: bytes("af 00 1190"))
                == .configuration(.aac, trackID: 0, record: bytes("1190")))
        #expect(try FLVAudioPacket(parsing: bytes("af 01 aabb")) == self.frame(.aac, stereo: true, "aabb"))
        #expect(try FLVAudioPacket(parsing: bytes("2e fffb54c4")) == self.frame(.mp3, "fffb54c4"))
        #expect(try FLVAudioPacket(parsing: bytes("e2 fffb")) == self.frame(.mp3, "fffb"))
        #expect(try FLVAudioPacket(parsing: bytes("72 d5")) == self.frame(.g711ALaw, "d5"))
        #expect(try FLVAudioPacket(parsing: bytes("83 ff")) == self.frame(.g711MuLaw, stereo: true, "ff"))
        #expect(try FLVAudioPacket(parsing: bytes("b6 00")) == self.frame(.speex, "00"))
    }

    @Test("enhanced headers name the codec by its fourCC")
    func enhanced() throws {
        #expect(
            try FLVAudioPacket(parsing: bytes("90 4f707573 4f70"))
                == .configuration(.opus, trackID: 0, record: bytes("4f70")))
        let names = [
            ("4f707573", Codec.opus), ("664c6143", .flac), ("61632d33", .ac3), ("65632d33", .eac3),
            ("2e6d7033", .mp3), ("6d703461", .aac),
        ]
        for (name, codec) in names {
            #expect(try FLVAudioPacket(parsing: bytes("91 \(name) aa")) == self.frame(codec, "aa"))
            #expect(try FLVAudioPacket(parsing: bytes("92 \(name)")) == .ignored(.endOfSequence))
        }
        #expect(
            try FLVAudioPacket(parsing: bytes("94 4f707573 010100000004")) == .ignored(.multichannelConfiguration))
        #expect(
            try FLVAudioPacket(parsing: bytes("95 11 4f707573 03 000001 aa 02 000001 bb"))
                == self.frame(.opus, track: 2, "bb"))
        #expect(try FLVAudioPacket(parsing: bytes("97 02 000064 01 4f707573 aa")) == self.frame(.opus, "aa"))
    }

    @Test("what carries no sound is ignored with its reason")
    func ignored() throws {
        #expect(try FLVAudioPacket(parsing: ByteBuffer()) == .ignored(.empty))
        #expect(try FLVAudioPacket(parsing: bytes("af")) == .ignored(.empty))
        #expect(try FLVAudioPacket(parsing: bytes("af 00")) == .ignored(.empty))
        #expect(try FLVAudioPacket(parsing: bytes("2e")) == .ignored(.empty))
        #expect(try FLVAudioPacket(parsing: bytes("90 61632d33")) == .ignored(.empty))
        #expect(try FLVAudioPacket(parsing: bytes("1e aa")) == .ignored(.unsupportedSoundFormat(1)))
        #expect(try FLVAudioPacket(parsing: bytes("91 78787878 aa")) == .ignored(.unsupportedFourCC(0x7878_7878)))
    }

    @Test("undefined packet types are refused")
    func undefined() {
        #expect(throws: FLVError.undefinedValue(2, offset: 1)) { try FLVAudioPacket(parsing: bytes("af 02 aa")) }
        #expect(throws: FLVError.undefinedValue(3, offset: 0)) { try FLVAudioPacket(parsing: bytes("93 4f707573 aa")) }
        #expect(throws: FLVError.truncated(offset: 1, needed: 4, available: 3)) {
            try FLVAudioPacket(parsing: bytes("91 4f7075"))
        }
    }
}
