import CLibAV
import Media
import NIOCore
import StreamHub

/// Makes one stream's audio into another codec: decodes, resamples, encodes, and gives frames their times.
///
/// Synchronous; no event loop may call it, and no two threads at once. A packet that cannot be decoded costs that packet.
final class AudioPipeline {
    let target: EncodedFormat
    private(set) var statistics = AudioTranscoderStatistics()
    /// The last error, for the log.
    private(set) var lastError: TranscodingError?
    private var source: Track
    private var decoder: AudioDecoder?
    /// The decoder did not take the track: what follows is not tried.
    private var isUnusable = false
    private var resampler: Resampler?
    private var stage: EncodingStage?
    private var clock: SampleClock
    /// Samples of the target that went to the encoder since the clock began, and those that are to be left out.
    private var position: Int64 = 0
    private var excess = 0
    private var decoded: SampleFrame?
    private var converted: SampleFrame?
    private var lastTime: Int64?

    /// An encoder with what waits for it.
    private struct EncodingStage {
        let encoder: AudioEncoder
        let queue: SampleQueue
    }

    init(source: Track, target: EncodedFormat) {
        self.source = source
        self.target = target
        self.clock = SampleClock(rate: target.rate)
    }

    /// The source goes on with another track, of which the same `target` is made.
    func sourceChanged(to source: Track) {
        self.source = source
        self.decoder = nil
        self.isUnusable = false
    }

    /// Takes the source's next frame; appends what came of it, and of those before.
    func process(_ frame: Frame, into output: inout [Frame]) {
        self.statistics.sourceFrames += 1
        guard !self.isUnusable, frame.codec == self.source.codec else {
            self.statistics.brokenFrames += 1
            return
        }
        let count = output.count
        do throws(TranscodingError) {
            try self.transcode(frame, into: &output)
        } catch {
            self.statistics.brokenFrames += 1
            self.lastError = error
            switch error {
            case .decoding, .unusableFormat: break
            case .unsupportedCodec, .configuration: self.isUnusable = true
            case .outOfMemory, .resampling, .encoding: self.reset()
            }
        }
        self.statistics.frames += UInt64(output.count - count)
    }

    private func transcode(_ frame: Frame, into output: inout [Frame]) throws(TranscodingError) {
        let decoder = try Self.prepared(&self.decoder) { () throws(TranscodingError) in try AudioDecoder(self.source) }
        let decoded = try Self.prepared(&self.decoded) { () throws(TranscodingError) in try SampleFrame() }
        try decoder.send(frame.payload, time: frame.dts.ticks)
        while try decoder.receive(into: decoded) { try self.append(decoded, into: &output) }
    }

    /// What is in `place`, made if nothing is.
    private static func prepared<Value>(
        _ place: inout Value?, _ make: () throws(TranscodingError) -> Value
    ) throws(TranscodingError) -> Value {
        if let value = place { return value }
        let value = try make()
        place = value
        return value
    }

    // MARK: Samples

    private func append(_ decoded: SampleFrame, into output: inout [Frame]) throws(TranscodingError) {
        let next = self.position + Int64(self.resampler?.delay ?? 0) - Int64(self.excess)
        var clock = self.clock
        let placement = clock.place(ticks: decoded.time ?? clock.ticks(of: next), at: next)
        // What is inside belongs to the time before.
        if placement == .restart { try self.flush(into: &output) }
        self.clock = clock
        let stage = try Self.prepared(&self.stage) { () throws(TranscodingError) in try self.makeStage() }
        switch placement {
        case .follow, .restart: break
        case .drop(let count): self.excess += count
        case .pad(let count):
            let covered = min(self.excess, count)
            self.excess -= covered
            try self.appendSilence(count - covered, to: stage)
        }
        try self.convert(decoded, to: stage)
        try self.encode(stage, into: &output)
    }

    private func convert(_ decoded: SampleFrame, to stage: EncodingStage) throws(TranscodingError) {
        if let resampler = self.resampler, resampler.input != decoded.format {
            try self.drain(resampler, to: stage)
            self.resampler = nil
        }
        let resampler = try Self.prepared(&self.resampler) { () throws(TranscodingError) in
            try Resampler(from: decoded, to: stage.encoder.input)
        }
        let converted = try Self.prepared(&self.converted) { () throws(TranscodingError) in try SampleFrame() }
        try resampler.convert(decoded, into: converted)
        try self.enqueue(converted, to: stage)
    }

    private func drain(_ resampler: Resampler, to stage: EncodingStage) throws(TranscodingError) {
        guard resampler.delay > 0 else { return }
        let converted = try SampleFrame()
        try resampler.convert(nil, into: converted)
        try self.enqueue(converted, to: stage)
    }

    private func enqueue(_ samples: SampleFrame, to stage: EncodingStage) throws(TranscodingError) {
        let skipped = min(self.excess, samples.sampleCount)
        try stage.queue.append(samples, from: skipped)
        self.excess -= skipped
        self.position += Int64(samples.sampleCount - skipped)
    }

    private func appendSilence(_ count: Int, to stage: EncodingStage) throws(TranscodingError) {
        guard count > 0 else { return }
        let silence = try SampleFrame()
        try silence.allocate(count, as: stage.encoder.input)
        silence.silence(from: 0)
        try stage.queue.append(silence)
        self.position += Int64(count)
    }

    // MARK: Frames

    private func makeStage() throws(TranscodingError) -> EncodingStage {
        let encoder = try AudioEncoder(self.target)
        return EncodingStage(encoder: encoder, queue: try SampleQueue(encoder.input))
    }

    private func encode(
        _ stage: EncodingStage, isLast: Bool = false, into output: inout [Frame]
    ) throws(TranscodingError) {
        try stage.encoder.encode(stage.queue, isLast: isLast) { payload, position in
            // The encoder's delay: nothing of the source is in front of its first sample.
            guard position >= 0 else { return }
            let time = self.clock.ticks(of: position)
            guard self.lastTime.map({ time > $0 }) ?? true else { return }
            self.lastTime = time
            let moment = MediaTime(ticks: time)
            output.append(
                Frame(codec: self.target.codec, dts: moment, pts: moment, isKeyframe: true, payload: payload))
        }
    }

    /// Encodes what is inside, at the end of a piece of sound. The next one begins with a new encoder.
    private func flush(into output: inout [Frame]) throws(TranscodingError) {
        guard let stage = self.stage else { return }
        self.statistics.gaps += 1
        if let resampler = self.resampler { try self.drain(resampler, to: stage) }
        try self.encode(stage, isLast: true, into: &output)
        self.startAnew()
    }

    private func startAnew() {
        self.stage = nil
        self.resampler = nil
        self.position = 0
        self.excess = 0
    }

    /// After an error of our side: nothing of what is inside is used.
    private func reset() {
        self.startAnew()
        self.clock = SampleClock(rate: self.target.rate)
    }
}
