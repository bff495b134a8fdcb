import Media
import NIOCore

/// How one audio track's frames are carried in a transport stream.
struct TSAudioForm: Sendable, Equatable {
    enum Framing: Sendable, Equatable {
        /// The four bytes of `adts_fixed_header` and what of the variable header does not change, with the length empty.
        case adts(header: UInt64)
        /// The frames as they are: MPEG audio, AC-3.
        case none
        /// Behind a control header with the length.
        case opus(channelCode: UInt8)
    }

    let codec: Codec
    let streamType: UInt8
    let framing: Framing
    /// Of the coded frames: the core's for HE-AAC. `nil` if it is not known.
    let sampleRate: Int?
    /// `nil` where each frame has to be looked at.
    private let samplesPerFrame: Int?

    /// Errors: `unsupportedCodec`, `unsupportedConfiguration`, `configuration`.
    init(_ track: Track) throws(MPEGTSError) {
        self.codec = track.codec
        let format: AudioFormat? = if case .audio(let format) = track.format { format } else { nil }
        switch track.codec {
        case .aac:
            let (config, header) = try Self.adtsHeader(track)
            self.streamType = TSStreamType.adts
            self.framing = .adts(header: header)
            self.sampleRate = config.sampleRate
            self.samplesPerFrame = 1024
        case .mp3:
            // MPEG-2's half rates have a number of their own.
            let rate = format?.sampleRate
            self.streamType = (rate ?? 44_100) < 32_000 ? TSStreamType.mpeg2Audio : TSStreamType.mpeg1Audio
            (self.framing, self.sampleRate, self.samplesPerFrame) = (.none, rate, format?.samplesPerFrame)
        case .ac3:
            self.streamType = TSStreamType.ac3
            (self.framing, self.sampleRate, self.samplesPerFrame) = (.none, format?.sampleRate, 1536)
        case .eac3:
            self.streamType = TSStreamType.eac3
            (self.framing, self.sampleRate, self.samplesPerFrame) = (.none, format?.sampleRate, nil)
        case .opus:
            self.streamType = TSStreamType.privatePES
            self.framing = .opus(channelCode: try Self.opusChannelCode(track))
            (self.sampleRate, self.samplesPerFrame) = (48_000, nil)
        default:
            throw .unsupportedCodec(track.codec)
        }
    }

    /// Bytes in front of a frame; `nil` when the frame is too long for them.
    func headerLength(of frame: ByteBuffer) -> Int? {
        switch self.framing {
        case .adts: frame.readableBytes + ADTSHeader.byteCount <= ADTSHeader.maximumFrameLength ? 7 : nil
        case .none: 0
        case .opus: 2 + frame.readableBytes / 255 + 1
        }
    }

    func write(_ frame: ByteBuffer, into buffer: inout ByteBuffer) {
        switch self.framing {
        case .adts(let header):
            let length = UInt64(frame.readableBytes + ADTSHeader.byteCount)
            let whole = header | length << 13
            buffer.writeMultipleIntegers(
                UInt32(truncatingIfNeeded: whole >> 24), UInt16(truncatingIfNeeded: whole >> 8),
                UInt8(truncatingIfNeeded: whole))
        case .none:
            break
        case .opus:
            buffer.writeInteger(OpusControlHeader.prefix)
            buffer.writeRepeatingByte(0xFF, count: frame.readableBytes / 255)
            buffer.writeInteger(UInt8(frame.readableBytes % 255))
        }
        buffer.writeImmutableBuffer(frame)
    }

    /// Samples of a frame at `sampleRate`; `nil` when it does not tell.
    func sampleCount(of frame: ByteBuffer) -> Int? {
        if let samplesPerFrame { return samplesPerFrame }
        switch self.codec {
        case .opus: return OpusPacket.sampleCount(of: frame)
        case .eac3: return (try? AC3Header(parsing: frame))?.samplesPerFrame
        case .mp3: return (try? MPEGAudioHeader(parsing: frame))?.samplesPerFrame
        default: return nil
        }
    }

    /// The descriptors of the track's entry in the program map.
    func writeDescriptors(into buffer: inout ByteBuffer) {
        switch (self.codec, self.framing) {
        case (.ac3, _): buffer.writeRegistration(TSIdentifier.ac3)
        case (.eac3, _): buffer.writeRegistration(TSIdentifier.eac3)
        case (_, .opus(let channelCode)):
            buffer.writeRegistration(TSIdentifier.opus)
            buffer.writeMultipleIntegers(TSDescriptor.dvbExtension, UInt8(2), TSDescriptor.opusExtension, channelCode)
        default: break
        }
    }

    private static func adtsHeader(_ track: Track) throws(MPEGTSError) -> (AudioSpecificConfig, UInt64) {
        guard let record = track.configuration else { throw .configuration(.aac, .missingConfiguration(.aac)) }
        let config: AudioSpecificConfig
        do throws(CodecHeaderError) {
            config = try AudioSpecificConfig(parsing: record)
        } catch {
            throw .configuration(.aac, error)
        }
        guard let header = ADTSHeader.fixedBits(of: config) else { throw .unsupportedConfiguration(.aac) }
        return (config, header)
    }

    private static func opusChannelCode(_ track: Track) throws(MPEGTSError) -> UInt8 {
        guard let record = track.configuration else { throw .configuration(.opus, .missingConfiguration(.opus)) }
        let head: OpusHead
        do throws(CodecHeaderError) {
            head = try OpusHead(parsing: record)
        } catch {
            throw .configuration(.opus, error)
        }
        switch head.mappingFamily {
        case 0 where head.channels <= 2: return UInt8(head.channels)
        case 1 where head.channels <= 8 && OpusHeadRecord.hasDefaultMapping(record, channels: head.channels):
            return UInt8(head.channels)
        default: throw .unsupportedConfiguration(.opus)
        }
    }
}

extension ByteBuffer {
    /// A `registration_descriptor` (§2.6.8).
    mutating func writeRegistration(_ identifier: UInt32) {
        self.writeMultipleIntegers(TSDescriptor.registration, UInt8(4), identifier)
    }
}

extension TSAudioForm {
    /// The time of `samples`, rounded to the next lower tick; `nil` without a sample rate.
    func ticks(ofSamples samples: Int) -> Int64? {
        guard let sampleRate, sampleRate > 0 else { return nil }
        return Int64(samples) * MediaTime.ticksPerSecond / Int64(sampleRate)
    }
}
