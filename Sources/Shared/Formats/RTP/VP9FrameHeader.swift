package import Media
package import NIOCore

/// The front of a VP9 frame: what a keyframe tells of the picture. Spec: VP9 bitstream §6.2 and §7.2.
package struct VP9FrameHeader: Sendable, Hashable {
    package var profile: Int
    package var isKeyframe: Bool
    /// 8, 10 or 12; of keyframes, else 8.
    package var bitDepth = 8
    /// As in `VPCodecConfiguration`: 1 4:2:0, 2 4:2:2, 3 4:4:4.
    package var chromaSubsampling = 1
    package var isFullRange = false
    /// Of keyframes.
    package var pictureSize: RTPPictureSize?

    /// Parses the first bytes of a frame, or of a superframe's first frame.
    ///
    /// Errors: those of `BitReader`, `badSignature` without the frame marker or the sync code, `invalidValue` for a
    /// reserved colour format.
    package init(parsing frame: ByteBuffer) throws(CodecHeaderError) {
        let head = frame.getSlice(at: frame.readerIndex, length: min(frame.readableBytes, 16)) ?? ByteBuffer()
        var reader = BitReader(head)
        guard try reader.bits(2) == 2 else { throw .badSignature(offset: 0) }
        let (low, high) = (try reader.int(1), try reader.int(1))
        self.profile = high << 1 | low
        self.isKeyframe = false
        if self.profile == 3 { try reader.skip(1) }
        // show_existing_frame: the rest is the number of a frame that is known.
        if try reader.flag() { return }
        self.isKeyframe = try !reader.flag()
        try reader.skip(2)
        guard self.isKeyframe else { return }
        guard try reader.bits(24) == 0x49_8342 else { throw .badSignature(offset: 1) }
        if self.profile >= 2 { self.bitDepth = try reader.flag() ? 12 : 10 }
        let colorSpace = try reader.int(3)
        if colorSpace == 7 {
            guard self.profile & 1 == 1 else { throw .invalidValue(7, offset: 4) }
            self.isFullRange = true
            self.chromaSubsampling = 3
            try reader.skip(1)
        } else {
            self.isFullRange = try reader.flag()
            if self.profile & 1 == 1 {
                let (horizontal, vertical) = (try reader.flag(), try reader.flag())
                // 4:4:0 has no number of its own; 4:2:2 is what players make of it.
                self.chromaSubsampling = horizontal || vertical ? 2 : 3
                try reader.skip(1)
            }
        }
        self.pictureSize = RTPPictureSize(width: try reader.int(16) + 1, height: try reader.int(16) + 1)
    }

    /// A `vpcC` record without a level, for tracks whose ingest has none. Spec: VP Codec ISO Media File Format Binding.
    package func configurationRecord() -> ByteBuffer {
        var record = ByteBuffer()
        let format = self.bitDepth << 4 | self.chromaSubsampling << 1 | (self.isFullRange ? 1 : 0)
        // Colour primaries, transfer and matrix 2: not known. No initialisation data.
        record.writeMultipleIntegers(
            UInt8(truncatingIfNeeded: self.profile), UInt8(0), UInt8(truncatingIfNeeded: format), UInt8(2), UInt8(2),
            UInt8(2), UInt16(0))
        return record
    }
}
