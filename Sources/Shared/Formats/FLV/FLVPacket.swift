package import Media
package import NIOCore

/// The body of a video message (RTMP type 9) or FLV video tag.
///
/// Legacy headers and enhanced RTMP v1 and v2 are read alike; of a multitrack body, the track with the lowest id.
/// Slices of the input, no copies. Spec: FLV 10.1 §E.4.3, enhanced RTMP v2 "Enhanced Video".
package enum FLVVideoPacket: Equatable, Sendable {
    /// A sequence header: the codec's configuration record as it came.
    case configuration(Codec, trackID: UInt8, usesLegacyCodecID: Bool, record: ByteBuffer)
    /// One access unit. `compositionOffsetMillis` is presentation minus decoding time and may be negative.
    case frame(Codec, trackID: UInt8, isKeyframe: Bool, compositionOffsetMillis: Int32, payload: ByteBuffer)
    case ignored(FLVIgnoredReason)

    /// Parses a whole body. Errors: `truncated`, `undefinedValue`.
    package init(parsing body: ByteBuffer) throws(FLVError) {
        var reader = FLVBodyReader(body)
        guard let first = reader.optionalByte() else {
            self = .ignored(.empty)
            return
        }
        if first & 0x80 != 0 {
            self = try Self.enhanced(first, &reader)
        } else {
            self = try Self.legacy(first, &reader)
        }
    }

    private static func isKeyframe(_ frameType: UInt8) -> Bool { frameType == 1 || frameType == 4 }

    private static func legacy(_ first: UInt8, _ reader: inout FLVBodyReader) throws(FLVError) -> Self {
        let frameType = first >> 4
        guard frameType != 5 else { return .ignored(.command) }
        let codec: Codec
        switch first & 0x0F {
        case FLVCode.avc: codec = .h264
        case FLVCode.legacyHEVC: codec = .hevc
        case FLVCode.legacyAV1: codec = .av1
        case let id: return .ignored(.unsupportedVideoCodec(id: id))
        }
        guard reader.bytesLeft > 0 else { return .ignored(.empty) }
        let packetType = try reader.byte()
        // The composition offset is there in all three types; end of sequence is sent without it by some.
        guard packetType != 2 else { return .ignored(.endOfSequence) }
        guard packetType <= 1 else { throw .undefinedValue(packetType, offset: 1) }
        let offset = try reader.signed24()
        if packetType == 0 {
            return self.configuration(codec, trackID: 0, isLegacy: true, reader.rest())
        }
        return self.frame(codec, trackID: 0, isKeyframe: self.isKeyframe(frameType), offset: offset, reader.rest())
    }

    private static func enhanced(_ first: UInt8, _ reader: inout FLVBodyReader) throws(FLVError) -> Self {
        let frameType = first >> 4 & 7
        let packetType = try reader.packetType(first & 0x0F)
        if frameType == 5, packetType != FLVPacketType.metadataOrMultichannel { return .ignored(.command) }
        let track = try reader.trackHeader(packetType, multitrackType: FLVPacketType.videoMultitrack)
        guard let codec = FLVFourCC.videoCodec(track.fourCC) else { return .ignored(.unsupportedFourCC(track.fourCC)) }
        var body = track.body
        switch track.packetType {
        case FLVPacketType.sequenceStart:
            return self.configuration(codec, trackID: track.id, isLegacy: false, body.rest())
        case FLVPacketType.codedFrames:
            let offset = codec == .h264 || codec == .hevc ? try body.signed24() : 0
            return self.frame(
                codec, trackID: track.id, isKeyframe: self.isKeyframe(frameType), offset: offset, body.rest())
        case FLVPacketType.codedFramesX:
            return self.frame(
                codec, trackID: track.id, isKeyframe: self.isKeyframe(frameType), offset: 0, body.rest())
        case FLVPacketType.sequenceEnd: return .ignored(.endOfSequence)
        case FLVPacketType.metadataOrMultichannel: return .ignored(.metadata)
        case FLVPacketType.transportStreamSequenceStart: return .ignored(.transportStreamConfiguration)
        case let other: throw .undefinedValue(other, offset: 0)
        }
    }

    private static func configuration(
        _ codec: Codec, trackID: UInt8, isLegacy: Bool, _ record: ByteBuffer
    ) -> Self {
        guard record.readableBytes > 0 else { return .ignored(.empty) }
        return .configuration(codec, trackID: trackID, usesLegacyCodecID: isLegacy, record: record)
    }

    private static func frame(
        _ codec: Codec, trackID: UInt8, isKeyframe: Bool, offset: Int32, _ payload: ByteBuffer
    ) -> Self {
        guard payload.readableBytes > 0 else { return .ignored(.empty) }
        return .frame(
            codec, trackID: trackID, isKeyframe: isKeyframe, compositionOffsetMillis: offset, payload: payload)
    }
}

/// The body of an audio message (RTMP type 8) or FLV audio tag.
///
/// Slices of the input, no copies. Spec: FLV 10.1 §E.4.2, enhanced RTMP v2 "Enhanced Audio".
package enum FLVAudioPacket: Equatable, Sendable {
    /// A sequence header: the codec's configuration record as it came.
    case configuration(Codec, trackID: UInt8, record: ByteBuffer)
    /// One coded frame. `isStereo` is the legacy header's flag, which only G.711 needs; `false` in enhanced bodies.
    case frame(Codec, trackID: UInt8, isStereo: Bool, payload: ByteBuffer)
    case ignored(FLVIgnoredReason)

    /// Parses a whole body. Errors: `truncated`, `undefinedValue`.
    package init(parsing body: ByteBuffer) throws(FLVError) {
        var reader = FLVBodyReader(body)
        guard let first = reader.optionalByte() else {
            self = .ignored(.empty)
            return
        }
        if first >> 4 == FLVCode.enhancedAudio {
            self = try Self.enhanced(first, &reader)
        } else {
            self = try Self.legacy(first, &reader)
        }
    }

    private static func legacy(_ first: UInt8, _ reader: inout FLVBodyReader) throws(FLVError) -> Self {
        let codec: Codec
        switch first >> 4 {
        case FLVCode.aac:
            guard reader.bytesLeft > 0 else { return .ignored(.empty) }
            let packetType = try reader.byte()
            guard packetType <= 1 else { throw .undefinedValue(packetType, offset: 1) }
            guard reader.bytesLeft > 0 else { return .ignored(.empty) }
            if packetType == 0 { return .configuration(.aac, trackID: 0, record: reader.rest()) }
            codec = .aac
        case FLVCode.mp3, FLVCode.mp3At8kHz: codec = .mp3
        case FLVCode.g711ALaw: codec = .g711ALaw
        case FLVCode.g711MuLaw: codec = .g711MuLaw
        case FLVCode.speex: codec = .speex
        case let format: return .ignored(.unsupportedSoundFormat(format))
        }
        return self.frame(codec, trackID: 0, isStereo: first & 1 != 0, reader.rest())
    }

    private static func enhanced(_ first: UInt8, _ reader: inout FLVBodyReader) throws(FLVError) -> Self {
        let packetType = try reader.packetType(first & 0x0F)
        let track = try reader.trackHeader(packetType, multitrackType: FLVPacketType.audioMultitrack)
        guard let codec = FLVFourCC.audioCodec(track.fourCC) else { return .ignored(.unsupportedFourCC(track.fourCC)) }
        var body = track.body
        switch track.packetType {
        case FLVPacketType.sequenceStart:
            guard body.bytesLeft > 0 else { return .ignored(.empty) }
            return .configuration(codec, trackID: track.id, record: body.rest())
        case FLVPacketType.codedFrames:
            return self.frame(codec, trackID: track.id, isStereo: false, body.rest())
        case FLVPacketType.sequenceEnd: return .ignored(.endOfSequence)
        case FLVPacketType.metadataOrMultichannel: return .ignored(.multichannelConfiguration)
        case let other: throw .undefinedValue(other, offset: 0)
        }
    }

    private static func frame(_ codec: Codec, trackID: UInt8, isStereo: Bool, _ payload: ByteBuffer) -> Self {
        guard payload.readableBytes > 0 else { return .ignored(.empty) }
        return .frame(codec, trackID: trackID, isStereo: isStereo, payload: payload)
    }
}
