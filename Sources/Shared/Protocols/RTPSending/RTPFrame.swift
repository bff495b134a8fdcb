package import Media
package import NIOCore

/// One frame of a live stream, cut into RTP payloads once for all viewers of a node.
///
/// Immutable and shared by all event loops; what differs between viewers is in `RTPViewer` and goes into the headers.
package final class RTPFrame: Sendable {
    package let codec: Codec
    /// Counts the frames of this kind of a stream, without gaps.
    package let number: UInt64
    /// How many packets the earlier frames of this kind have.
    package let firstPacket: UInt64
    /// Presentation time in ticks of the RTP clock, not wrapped. Rises from each frame of a kind to the next.
    package let ticks: Int64
    /// Presentation time on the stream's timeline.
    package let time: MediaTime
    /// Decoding can start here. Parameter sets are in the payload. Always `true` for audio.
    package let isKeyframe: Bool
    /// No other frame is predicted from it: a viewer who is short of bandwidth may do without.
    package let isDiscardable: Bool
    /// The RTP payloads, one behind the other.
    package let payload: ByteBuffer
    /// Where the payload of each packet lies in `payload` (indices of the buffer, not offsets). Never empty.
    package let packets: [Range<Int>]
    /// The packets have one size, but for the last, which may be shorter: one UDP GSO send takes them all.
    package let isUniform: Bool
    /// When the frame reached this node.
    package let arrival: NIODeadline
    /// What the stream's frames of both kinds lately took, in payload bits per second. What pacing goes by.
    package let streamBitrate: Int

    package init(
        codec: Codec, number: UInt64, firstPacket: UInt64, ticks: Int64, time: MediaTime, isKeyframe: Bool,
        isDiscardable: Bool, payload: ByteBuffer, packets: [Range<Int>], arrival: NIODeadline, streamBitrate: Int
    ) {
        precondition(!packets.isEmpty, "a frame has at least one packet")
        self.codec = codec
        self.number = number
        self.firstPacket = firstPacket
        self.ticks = ticks
        self.time = time
        self.isKeyframe = isKeyframe
        self.isDiscardable = isDiscardable
        self.payload = payload
        self.packets = packets
        self.isUniform = Self.uniformCount(packets[...]) == packets.count
        self.arrival = arrival
        self.streamBitrate = streamBitrate
    }

    package var kind: MediaKind { self.codec.kind }
    /// The number of payload bytes of all packets.
    package var byteCount: Int { self.payload.readableBytes }

    /// How many packets from `index` on (an index of `packets`) one GSO send can take: equal sizes, and one shorter
    /// packet at the end.
    package func uniformCount(from index: Int) -> Int {
        self.isUniform ? self.packets.count - index : Self.uniformCount(self.packets[index...])
    }

    private static func uniformCount(_ packets: ArraySlice<Range<Int>>) -> Int {
        guard let size = packets.first?.count else { return 0 }
        var count = 0
        for packet in packets {
            guard packet.count <= size else { break }
            count += 1
            if packet.count < size { break }
        }
        return count
    }
}

/// What a stream has for RTP viewers of one kind of track.
package enum RTPTrackStatus: Sendable, Hashable {
    /// Nothing came yet from this source.
    case unknown
    /// The source has no such track.
    case absent
    /// Frames are, or will be, sent.
    case flowing(Codec)
    /// The track is there, but cannot be sent.
    case refused(RTPRefusal)
}

/// Why a track cannot be sent over RTP.
package enum RTPRefusal: Sendable, Hashable {
    /// RTP viewers have no payload format for it.
    case unsupportedCodec(Codec)
    /// Frames are predicted from frames that are shown later (B-pyramids): players over RTP have no place to reorder
    /// them, and leaving them out would break the picture.
    case reorderedReferences
    /// The codec header or the frames cannot be parsed.
    case malformed(Codec)
}

/// What a stream has for RTP viewers.
package struct RTPStreamStatus: Sendable, Hashable {
    package var video: RTPTrackStatus
    package var audio: RTPTrackStatus

    package init(video: RTPTrackStatus = .unknown, audio: RTPTrackStatus = .unknown) {
        self.video = video
        self.audio = audio
    }

    package subscript(kind: MediaKind) -> RTPTrackStatus {
        get { kind == .video ? self.video : self.audio }
        set { if kind == .video { self.video = newValue } else { self.audio = newValue } }
    }
}
