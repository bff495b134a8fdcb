package import NIOCore

/// The parameter sets that came inside an access unit, in the order in which they came, each with its NAL unit header.
package struct RTPParameterSets: Sendable, Hashable {
    /// HEVC's video parameter sets.
    package var video: [ByteBuffer] = []
    package var sequence: [ByteBuffer] = []
    package var picture: [ByteBuffer] = []

    package init() {}

    package var isEmpty: Bool { self.video.isEmpty && self.sequence.isEmpty && self.picture.isEmpty }
}

/// Where a picture stands among the layers of a scalable stream, as the payload descriptor of VP8 or VP9 says.
package struct RTPLayerIDs: Sendable, Hashable {
    /// 7 or 15 bits, counted up with each picture.
    package var pictureID: UInt16?
    /// The picture id has 15 bits.
    package var hasLongPictureID = false
    /// Counts pictures of the temporal base layer.
    package var temporalBaseIndex: UInt8?
    /// 0 is the base.
    package var temporalLayer: UInt8?
    /// VP9: the highest spatial layer in the access unit.
    package var spatialLayer: UInt8?
    /// The decoder may go up to this temporal layer from here on (VP8's layer sync, VP9's switching up point).
    package var isSwitchingPoint = false

    package init() {}
}

/// A picture's size in pixels.
package struct RTPPictureSize: Sendable, Hashable {
    package var width: Int
    package var height: Int

    package init(width: Int, height: Int) {
        self.width = width
        self.height = height
    }
}

/// One whole access unit (video) or audio frame that a `RTPPayloadReader` put together.
package struct RTPAccessUnit: Sendable, Hashable {
    /// Of its packets; for the second and further audio frames in one packet, later by the durations before them.
    package var timestamp: UInt32
    /// In the form of `Frame.payload`: H.264 and HEVC NAL units with 4 bytes of length, without delimiters, filler and
    /// parameter sets; AV1 low-overhead OBUs without temporal delimiters, each with its size; VP9 with a superframe
    /// index if it has several spatial layers; else one packet of the codec.
    package var payload: ByteBuffer
    /// Decoding can start here. `true` for audio.
    package var isKeyframe: Bool
    /// Nothing refers to the picture: it may be left out. `false` when that is not known, and for audio.
    package var isDisposable: Bool
    /// What came in band, also together with access units that are no keyframes.
    package var parameterSets: RTPParameterSets
    /// AV1: the last sequence header OBU, with its size field. It is in `payload` too.
    package var sequenceHeader: ByteBuffer?
    /// Of VP8, VP9 and AV1 keyframes. H.264's and HEVC's are in the sequence parameter sets.
    package var pictureSize: RTPPictureSize?
    package var layers: RTPLayerIDs
    /// Audio: length in ticks of the timestamp; `nil` when the packet does not tell.
    package var duration: UInt32?

    package init(timestamp: UInt32, payload: ByteBuffer, isKeyframe: Bool) {
        self.timestamp = timestamp
        self.payload = payload
        self.isKeyframe = isKeyframe
        self.isDisposable = false
        self.parameterSets = RTPParameterSets()
        self.sequenceHeader = nil
        self.pictureSize = nil
        self.layers = RTPLayerIDs()
        self.duration = nil
    }
}
