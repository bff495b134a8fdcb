package import Media
package import NIOCore
package import RTP

/// Numbers that have to be random, for one track. Spec: RFC 3550 §5.1.
package struct RTSPTrackSeed: Sendable, Hashable {
    package var ssrc: UInt32
    package var sequence: UInt16
    package var timestamp: UInt32

    package init(using generator: inout some RandomNumberGenerator) {
        self.ssrc = generator.next()
        self.sequence = generator.next()
        self.timestamp = generator.next()
    }

    package init(ssrc: UInt32, sequence: UInt16, timestamp: UInt32) {
        self.ssrc = ssrc
        self.sequence = sequence
        self.timestamp = timestamp
    }
}

/// Makes the RTP packets of one track, in decoding order with presentation times.
///
/// Audio frames follow each other by their durations as long as the source has no gap, so that times which were rounded on
/// their way do not make players stretch samples.
package struct RTSPTrackWriter: Sendable {
    /// How packets are put into a buffer.
    package enum Framing: Sendable, Hashable {
        /// One behind the other.
        case none
        /// Each behind `$`, this channel and its length. Spec: RFC 2326 §10.12.
        case interleaved(channel: UInt8)
    }

    /// Bytes of a payload at most: with all headers below the MTU of every path.
    package static let maximumPayload = 1_400
    private static let headerLength = 12

    package let track: RTSPTrack
    package let ssrc: UInt32
    /// The number of the next packet.
    package private(set) var nextSequence: UInt16
    private let timestampOffset: UInt32
    private var writer: RTPPayloadWriter
    private var nalUnitLengthSize = 4
    private var parameterSets: [ByteBuffer] = []
    private var packetCount: UInt32 = 0
    private var octetCount: UInt32 = 0
    /// Where the next audio frame belongs if there is no gap, in ticks.
    private var nextTicks: Int64?
    /// Frames that could not be cut.
    package private(set) var malformedFrames = 0

    package init(_ track: RTSPTrack, source: Track, seed: RTSPTrackSeed) {
        self.track = track
        self.ssrc = seed.ssrc
        self.nextSequence = seed.sequence
        self.timestampOffset = seed.timestamp
        self.writer = RTPPayloadWriter(format: track.format, maximumPayload: Self.maximumPayload)
        self.adopt(source)
    }

    /// The source's configuration is another one, of the same codec: parameter sets are sent with the next keyframe.
    package mutating func adopt(_ source: Track) {
        guard let record = source.configuration else { return }
        switch source.codec {
        case .h264:
            guard let avc = try? AVCDecoderConfiguration(parsing: record) else { return }
            self.nalUnitLengthSize = avc.nalUnitLengthSize
            self.parameterSets = avc.sequenceParameterSets + avc.pictureParameterSets
        case .hevc:
            guard let hevc = try? HEVCDecoderConfiguration(parsing: record) else { return }
            self.nalUnitLengthSize = hevc.nalUnitLengthSize
            self.parameterSets = [32, 33, 34].flatMap { hevc.units(ofType: $0) }
        case .av1:
            guard let units = try? AV1CodecConfiguration(parsing: record).configurationUnits else { return }
            self.parameterSets = units.readableBytes > 0 ? [units] : []
        default: break
        }
    }

    /// Appends the packets of a frame, and calls `each` with where each of them lies, framing included.
    package mutating func write(
        _ frame: Frame, framing: Framing, into buffer: inout ByteBuffer, each: (Range<Int>) -> Void = { _ in }
    ) {
        let sets = frame.isKeyframe ? self.parameterSets : []
        guard
            let payloads = try? self.writer.payloads(
                of: frame.payload, isKeyframe: frame.isKeyframe, nalUnitLengthSize: self.nalUnitLengthSize,
                parameterSets: sets)
        else { return self.malformedFrames += 1 }
        guard !payloads.ranges.isEmpty else { return }
        var timestamp = self.timestamp(of: frame)
        let overhead = Self.headerLength + 4
        buffer.reserveCapacity(minimumWritableBytes: payloads.buffer.readableBytes + payloads.ranges.count * overhead)
        for (index, range) in payloads.ranges.enumerated() {
            let start = buffer.writerIndex
            if case .interleaved(let channel) = framing {
                buffer.writeMultipleIntegers(
                    UInt8(ascii: "$"), channel, UInt16(truncatingIfNeeded: Self.headerLength + range.count))
            }
            let marker: UInt8 = payloads.hasMarker(at: index) ? 0x80 : 0
            buffer.writeMultipleIntegers(
                UInt8(0x80), marker | self.track.payloadType, self.nextSequence, timestamp, self.ssrc)
            buffer.writeImmutableBuffer(payloads.payload(at: index))
            each(start..<buffer.writerIndex)
            self.nextSequence &+= 1
            self.packetCount &+= 1
            self.octetCount &+= UInt32(truncatingIfNeeded: range.count)
            timestamp &+= payloads.timestampStep
        }
    }

    // MARK: Times

    /// Of a time on the stream's timeline.
    package func timestamp(at time: MediaTime) -> UInt32 {
        UInt32(truncatingIfNeeded: self.ticks(at: time)) &+ self.timestampOffset
    }

    private func ticks(at time: MediaTime) -> Int64 {
        let second = MediaTime.ticksPerSecond
        guard self.track.clockRate != Int(second) else { return time.ticks }
        let rate = Int64(self.track.clockRate)
        let (whole, rest) = time.ticks.quotientAndRemainder(dividingBy: second)
        return whole &* rate &+ (rest * rate + (rest < 0 ? -second / 2 : second / 2)) / second
    }

    private mutating func timestamp(of frame: Frame) -> UInt32 {
        var ticks = self.ticks(at: frame.pts)
        if frame.kind == .audio {
            let duration = self.duration(of: frame)
            // Half a frame, or 5 ms, is no gap.
            let tolerance = max((duration ?? 0) / 2, Int64(self.track.clockRate) / 200)
            if let next = self.nextTicks, duration != nil, abs(ticks - next) <= tolerance { ticks = next }
            self.nextTicks = duration.map { ticks + $0 }
        }
        return UInt32(truncatingIfNeeded: ticks) &+ self.timestampOffset
    }

    /// In ticks; `nil` if it is not known.
    private func duration(of frame: Frame) -> Int64? {
        switch self.track.format {
        case .aac: self.track.samplesPerFrame.map { Int64($0) }
        case .opus: OpusPacket.duration(of: frame.payload).map { Int64($0) }
        case .g711ALaw, .g711MuLaw: Int64(frame.payload.readableBytes / max(self.track.channels, 1))
        case .h264, .hevc, .vp8, .vp9, .av1, .latm, .mpegAudio: nil
        }
    }

    // MARK: Reports

    /// Appends a sender report with our name, which ties the track's times to a wall clock that all tracks share.
    ///
    /// `ntp` is the wall time at which `time` is presented.
    package func writeReport(
        at time: MediaTime, ntp: NTPTime, cname: String, framing: Framing, into buffer: inout ByteBuffer
    ) {
        self.write(
            [
                .senderReport(
                    RTCPSenderReport(
                        ssrc: self.ssrc, ntpTime: ntp, rtpTimestamp: self.timestamp(at: time),
                        packetCount: self.packetCount, octetCount: self.octetCount)),
                .sourceDescription(RTCPSourceDescription(ssrc: self.ssrc, cname: cname)),
            ], framing: framing, into: &buffer)
    }

    /// Appends a goodbye: the track has ended.
    package func writeGoodbye(framing: Framing, into buffer: inout ByteBuffer) {
        self.write(
            [.receiverReport(RTCPReceiverReport(ssrc: self.ssrc)), .goodbye(RTCPGoodbye(ssrcs: [self.ssrc]))],
            framing: framing, into: &buffer)
    }

    private func write(_ packets: [RTCPPacket], framing: Framing, into buffer: inout ByteBuffer) {
        let start = buffer.writerIndex
        if case .interleaved(let channel) = framing {
            buffer.writeMultipleIntegers(UInt8(ascii: "$"), channel, UInt16(0))
        }
        let first = buffer.writerIndex
        for packet in packets { packet.write(into: &buffer) }
        if first > start { buffer.setInteger(UInt16(truncatingIfNeeded: buffer.writerIndex - first), at: start + 2) }
    }
}

/// Ties the stream's timeline to a wall clock.
package struct RTSPWallClock: Sendable, Hashable {
    private let ntp: NTPTime
    private var time: MediaTime?

    /// `ntp`: now.
    package init(ntp: NTPTime) { self.ntp = ntp }

    /// The wall time of a time on the timeline. The first that is asked for is now.
    package mutating func anchor(at time: MediaTime) { if self.time == nil { self.time = time } }

    package func ntp(at time: MediaTime) -> NTPTime {
        let distance = (time - (self.time ?? time)).ticks
        let (seconds, rest) = distance.quotientAndRemainder(dividingBy: MediaTime.ticksPerSecond)
        let fraction = (rest << 32) / MediaTime.ticksPerSecond
        return NTPTime(value: self.ntp.value &+ UInt64(bitPattern: (seconds << 32) &+ fraction))
    }
}
