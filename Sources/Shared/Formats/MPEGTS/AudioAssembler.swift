import Media
import NIOCore

/// Cuts an audio elementary stream into frames, wherever PES packets begin and end.
///
/// The time of a PES packet belongs to the first frame that begins in it (ISO 13818-1 §2.4.3.7); the frames behind it
/// follow by their samples. Opus packets never cross PES packets.
struct AudioAssembler: Sendable {
    /// What the track was made of; another value makes another track.
    private enum Source: Sendable, Equatable {
        case adts(objectType: Int, sampleRate: Int, channels: Int)
        case latm(ByteBuffer)
        case described(Codec, AudioFormat)
        case opus(channels: UInt8)
    }

    private let pid: UInt16
    private let codec: Codec
    /// `nil` for Opus.
    private let framing: AudioFraming?
    private let opusChannelCode: UInt8
    private var latm = LATMReader()
    private var stamp: PESStamp?
    private var isStampUnused = false
    /// A frame that began in the packet before.
    private var leftover = ByteBuffer()
    private var leftoverPosition: Int64 = 0
    /// Frames were found one behind the other, so the next is where the last ended.
    private var isLocked = true
    /// Time and rate at which samples are counted from.
    private var anchor: (time: Int64, rate: Int)?
    private var samples: Int64 = 0
    private var source: Source?
    private var hasTrack = false

    /// `opusChannelCode`: what the program map says of an Opus stream's channels.
    init(pid: UInt16, codec: Codec, isLATM: Bool, opusChannelCode: UInt8?) {
        self.pid = pid
        self.codec = codec
        // Streams without the descriptor are stereo.
        self.opusChannelCode = opusChannelCode ?? 2
        self.framing =
            switch codec {
            case .aac: AudioFraming(kind: isLATM ? .loas : .adts)
            case .mp3: AudioFraming(kind: .mpeg)
            case .ac3, .eac3: AudioFraming(kind: .ac3)
            default: nil
            }
    }

    /// A PES packet begins.
    mutating func begin(_ stamp: PESStamp) {
        self.stamp = stamp
        self.isStampUnused = true
    }

    /// Takes the whole payload of the packet that began, or of what came of it.
    mutating func feed(_ payload: ByteBuffer, into outputs: inout OutputQueue) {
        guard let stamp = self.stamp else { return }
        guard let framing = self.framing else { return self.feedOpus(payload, stamp: stamp, into: &outputs) }
        if self.leftover.readableBytes > 0, framing.isChain(payload) {
            // The packet holds whole frames, so the length of what was left over is a damaged one.
            outputs.append(.problem(.audioSyncLost(pid: self.pid, position: self.leftoverPosition)))
            self.leftover = ByteBuffer()
        }
        let boundary = self.leftover.readableBytes
        var data = payload
        if boundary > 0 {
            self.leftover.writeImmutableBuffer(payload)
            data = self.leftover
            self.leftover = ByteBuffer()
        }
        var offset = 0
        while offset < data.readableBytes {
            let position = offset < boundary ? self.leftoverPosition : stamp.position
            switch self.look(framing, at: offset, in: data) {
            case .frame(let length):
                if offset >= boundary { self.takeTime(of: stamp) }
                if let frame = data.getSlice(at: data.readerIndex + offset, length: length) {
                    self.receive(frame, kind: framing.kind, position: position, into: &outputs)
                }
                self.isLocked = true
                offset += length
            case .incomplete:
                self.leftoverPosition = position
                // The time belongs to the frame that begins here, though it ends in the next packet.
                if offset >= boundary { self.takeTime(of: stamp) }
                // A copy: the packet's memory is not kept for a piece of a frame.
                let rest = data.readableBytesView.dropFirst(offset)
                self.leftover = ByteBuffer(bytes: rest)
                return
            case .none:
                if self.isLocked { outputs.append(.problem(.audioSyncLost(pid: self.pid, position: position))) }
                self.isLocked = false
                offset += 1
            }
        }
    }

    /// What is unfinished is dropped; time goes on with the next packet.
    mutating func reset() {
        self.leftover = ByteBuffer()
        self.stamp = nil
        self.isLocked = true
        self.latm = LATMReader()
    }

    private func look(_ framing: AudioFraming, at offset: Int, in data: ByteBuffer) -> AudioFraming.Found {
        let found = framing.look(at: offset, in: data)
        guard case .frame(var length) = found else { return found }
        if framing.kind == .ac3 {
            // The substreams that belong to a frame are one access unit with it.
            while case .frame(let more) = framing.look(at: offset + length, in: data),
                AC3SyncFrame(data, at: data.readerIndex + offset + length)?.isAttached == true
            {
                length += more
            }
            return .frame(length: length)
        }
        guard !self.isLocked else { return found }
        // Where bytes were passed over, a sync word has to be confirmed by the next.
        switch framing.look(at: offset + length, in: data) {
        case .none: return .none
        case .incomplete where offset + length + 9 > data.readableBytes: return .incomplete
        case .incomplete, .frame: return found
        }
    }

    // MARK: Time

    private mutating func takeTime(of stamp: PESStamp) {
        guard self.isStampUnused else { return }
        self.isStampUnused = false
        guard let pts = stamp.pts else { return }
        self.anchor = (pts, self.anchor?.rate ?? 0)
        self.samples = 0
    }

    /// Raw 33 bits: the time of the next frame, which has `count` samples at `rate`. `nil` before the first time stamp.
    private mutating func advance(by count: Int, rate: Int) -> Int64? {
        guard var anchor = self.anchor else { return nil }
        if anchor.rate != rate {
            if anchor.rate > 0 {
                anchor.time += Self.ticks(of: self.samples, rate: anchor.rate)
                self.samples = 0
            }
            anchor.rate = rate
            self.anchor = anchor
        }
        let time = anchor.time + Self.ticks(of: self.samples, rate: rate)
        self.samples += Int64(count)
        return time & TS.timeMask
    }

    /// To the nearest tick.
    private static func ticks(of samples: Int64, rate: Int) -> Int64 {
        (samples * MediaTime.ticksPerSecond + Int64(rate / 2)) / Int64(rate)
    }

    // MARK: Frames

    private mutating func receive(
        _ frame: ByteBuffer, kind: AudioFraming.Kind, position: Int64, into outputs: inout OutputQueue
    ) {
        switch kind {
        case .adts: self.receiveADTS(frame, position: position, into: &outputs)
        case .loas: self.receiveLOAS(frame, position: position, into: &outputs)
        case .mpeg:
            guard let header = try? MPEGAudioHeader(parsing: frame) else { return }
            self.describe(codec: .mp3, format: header.audioFormat, frame: frame, position: position, into: &outputs)
            self.emit(
                frame, codec: .mp3, samples: header.samplesPerFrame, rate: header.sampleRate, position: position,
                into: &outputs)
        case .ac3:
            guard let sync = AC3SyncFrame(frame, at: frame.readerIndex), !sync.isAttached else { return }
            guard let header = try? AC3Header(parsing: frame) else { return }
            let codec = header.isEnhanced ? Codec.eac3 : Codec.ac3
            self.describe(codec: codec, format: header.audioFormat, frame: frame, position: position, into: &outputs)
            self.emit(
                frame, codec: codec, samples: header.samplesPerFrame, rate: header.sampleRate, position: position,
                into: &outputs)
        }
    }

    private mutating func receiveADTS(_ frame: ByteBuffer, position: Int64, into outputs: inout OutputQueue) {
        guard let header = ADTSHeader(frame, at: frame.readerIndex),
            let payload = frame.getSlice(
                at: frame.readerIndex + header.headerLength, length: header.frameLength - header.headerLength)
        else { return }
        self.become(
            .adts(
                objectType: header.objectType, sampleRate: header.sampleRate, channels: header.channelConfiguration),
            position: position, into: &outputs
        ) { () throws(CodecHeaderError) -> Track? in
            guard header.channelConfiguration > 0 else { return nil }
            var record = ByteBuffer()
            try AudioSpecificConfig(
                objectType: header.objectType, sampleRate: header.sampleRate,
                channelConfiguration: header.channelConfiguration
            ).write(into: &record)
            return try Track(codec: .aac, parsingConfiguration: record)
        }
        guard header.rawDataBlocks == 1 else {
            // Where the second block begins is only known to a decoder.
            outputs.append(.problem(.unsupportedConfiguration(.aac, position: position)))
            _ = self.advance(by: 1024 * header.rawDataBlocks, rate: header.sampleRate)
            return
        }
        self.emit(payload, codec: .aac, samples: 1024, rate: header.sampleRate, position: position, into: &outputs)
    }

    private mutating func receiveLOAS(_ frame: ByteBuffer, position: Int64, into outputs: inout OutputQueue) {
        let element: LATMReader.Element
        do throws(CodecHeaderError) {
            element = try self.latm.read(frame)
        } catch {
            return outputs.append(.problem(.configuration(.aac, error, position: position)))
        }
        guard case .units(let units) = element else {
            let problem =
                element == .unsupported
                ? TSProblem.unsupportedConfiguration(.aac, position: position)
                : TSProblem.unusableFrame(pid: self.pid, position: position)
            return outputs.append(.problem(problem))
        }
        guard let configuration = self.latm.configuration else { return }
        self.become(.latm(configuration.record), position: position, into: &outputs) {
            () throws(CodecHeaderError) -> Track? in
            try Track(codec: .aac, parsingConfiguration: configuration.record)
        }
        for unit in units {
            self.emit(
                unit, codec: .aac, samples: configuration.samplesPerFrame, rate: configuration.sampleRate,
                position: position, into: &outputs)
        }
    }

    private mutating func feedOpus(_ payload: ByteBuffer, stamp: PESStamp, into outputs: inout OutputQueue) {
        var rest = payload
        self.takeTime(of: stamp)
        let code = self.opusChannelCode
        self.become(.opus(channels: code), position: stamp.position, into: &outputs) {
            () throws(CodecHeaderError) -> Track? in
            guard let record = OpusHeadRecord.make(channelCode: code) else { return nil }
            return try Track(codec: .opus, parsingConfiguration: record)
        }
        while rest.readableBytes > 0 {
            guard let length = OpusControlHeader.read(&rest), let packet = rest.readSlice(length: length),
                let samples = OpusPacket.sampleCount(of: packet)
            else {
                outputs.append(.problem(.audioSyncLost(pid: self.pid, position: stamp.position)))
                return
            }
            self.emit(packet, codec: .opus, samples: samples, rate: 48_000, position: stamp.position, into: &outputs)
        }
    }

    private mutating func describe(
        codec: Codec, format: AudioFormat, frame: ByteBuffer, position: Int64, into outputs: inout OutputQueue
    ) {
        self.become(.described(codec, format), position: position, into: &outputs) {
            () throws(CodecHeaderError) -> Track? in
            try Track(codec: codec, describedBy: frame)
        }
    }

    /// Makes the track of `source` unless it is the one that was made last; without one its frames are dropped.
    private mutating func become(
        _ source: Source, position: Int64, into outputs: inout OutputQueue,
        make: () throws(CodecHeaderError) -> Track?
    ) {
        guard source != self.source else { return }
        self.source = source
        self.hasTrack = false
        do throws(CodecHeaderError) {
            if let track = try make() {
                self.hasTrack = true
                outputs.append(.event(.track(track), position: position))
            } else {
                outputs.append(.problem(.unsupportedConfiguration(self.codec, position: position)))
            }
        } catch {
            outputs.append(.problem(.configuration(self.codec, error, position: position)))
        }
    }

    private mutating func emit(
        _ payload: ByteBuffer, codec: Codec, samples: Int, rate: Int, position: Int64,
        into outputs: inout OutputQueue
    ) {
        let time = self.advance(by: samples, rate: rate)
        guard payload.readableBytes > 0 else { return }
        guard let time, self.hasTrack else {
            outputs.append(.problem(.unusableFrame(pid: self.pid, position: position)))
            return
        }
        // A copy: a slice would keep the whole packet, and the packet's buffer could not be used again.
        let copy = ByteBuffer(bytes: payload.readableBytesView)
        let ticks = MediaTime(ticks: time)
        outputs.append(
            .event(
                .frame(Frame(codec: codec, dts: ticks, pts: ticks, isKeyframe: true, payload: copy)), position: position
            ))
    }
}
