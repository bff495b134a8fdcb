import ISOBMFF
import Media
import NIOCore

/// libFuzzer's entry: the first byte chooses the reader, the rest is its input.
///
/// What is read must also survive being written and read again.
@c(LLVMFuzzerTestOneInput)
public func fuzzISOBMFF(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    input = input.slice()
    switch choice % 3 {
    case 0: readFile(input, cut: Int(choice / 3))
    case 1: readSegments(input)
    default: readFragments(input)
    }
    return 0
}

private func limits() -> MP4Index.Limits {
    var limits = MP4Index.Limits()
    limits.maximumSamples = 20_000
    limits.maximumSamplesPerFragment = 5_000
    return limits
}

/// Reads a file at once and in two steps, which must agree, and finishes it into a progressive one.
private func readFile(_ input: ByteBuffer, cut: Int) {
    guard let index = try? MP4Index(reading: MP4MemorySource(input), limits: limits()) else { return }
    precondition(index.completeEnd <= input.readableBytes)
    for track in index.tracks {
        for sample in track.samples {
            precondition(sample.offset >= 0 && sample.offset + Int64(sample.byteCount) <= input.readableBytes)
        }
    }
    let part = input.getSlice(at: 0, length: input.readableBytes * cut / 86) ?? ByteBuffer()
    if var grown = try? MP4Index(reading: MP4MemorySource(part), limits: limits()), grown.isFragmented {
        let damaged: Bool
        if case .damaged = grown.tail { damaged = true } else { damaged = false }
        try? grown.readOn(from: MP4MemorySource(input))
        precondition(damaged || grown.completeEnd == index.completeEnd, "reading on ended elsewhere")
        precondition(damaged || grown.tracks == index.tracks, "reading on gave other samples")
    }
    let middle = index.tracks.first?.samples.endTime ?? 0
    for clip in [
        ProgressiveMP4.Clip(source: 0, index: index),
        ProgressiveMP4.Clip(source: 0, index: index, from: MediaTime(ticks: middle / 2), to: MediaTime(ticks: middle)),
    ] {
        guard let plan = try? ProgressiveMP4.plan(joining: [clip, clip]) else { continue }
        var output = plan.header
        for case .range(_, let offset, let byteCount) in plan.pieces {
            output.writeImmutableBuffer(input.getSlice(at: Int(offset), length: Int(byteCount)) ?? ByteBuffer())
        }
        precondition(Int64(output.readableBytes) == plan.byteCount)
        guard (try? MP4Index(reading: MP4MemorySource(output))) != nil else {
            preconditionFailure("a finished file was not read")
        }
    }
}

/// Takes the input for an initialization segment and what follows it.
private func readSegments(_ input: ByteBuffer) {
    guard let reader = try? FragmentReader(initialization: input) else { return }
    check(reader, input)
    _ = try? reader.events(in: input)
}

/// Takes the input for media segments of a known track.
private func readFragments(_ input: ByteBuffer) {
    let track = Track(
        codec: .mp3, configuration: nil, format: .audio(AudioFormat(sampleRate: 44_100, channels: 2)))
    guard let own = try? MP4Track(id: 1, timescale: 44_100, track: track),
        let reader = try? FragmentReader(initialization: FragmentedMP4.initialization(tracks: [own]))
    else { preconditionFailure("an initialization segment was not read") }
    check(reader, input)
    _ = try? reader.events(in: input)
}

private func check(_ reader: FragmentReader, _ input: ByteBuffer) {
    guard let fragments = try? reader.fragments(in: input) else { return }
    // Samples may share bytes, so little input can stand for much output.
    for fragment in fragments where fragment.samples.count < 5_000 {
        guard fragment.samples.reduce(0, { $0 + $1.payload.readableBytes }) < 1 << 24 else { continue }
        var output = ByteBuffer()
        FragmentedMP4.write([fragment], sequence: 1, into: &output)
        precondition((try? reader.fragments(in: output)) == [fragment], "a written fragment was read otherwise")
    }
}
