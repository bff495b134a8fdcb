import MPEGPS
import Media
import NIOCore

/// libFuzzer's entry: the first byte chooses how the input is cut, the rest is a program stream, whole and in pieces.
@c(LLVMFuzzerTestOneInput)
public func fuzzMPEGPS(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    if choice % 2 == 0 {
        let whole = demux(input, step: .max, losesAt: nil)
        let stepped = demux(input, step: Int(choice / 2) + 1, losesAt: nil)
        precondition(whole == stepped, "\(whole.count) outputs at once, \(stepped.count) in steps")
    } else {
        _ = demux(input, step: 64, losesAt: Int(choice / 2))
    }
    return 0
}

private func demux(_ input: ByteBuffer, step: Int, losesAt: Int?) -> [PSDemuxer.Output] {
    var configuration = PSDemuxer.Configuration()
    configuration.maximumAccessUnitLength = 4_096
    var demuxer = PSDemuxer(configuration: configuration)
    var outputs: [PSDemuxer.Output] = []
    var rest = input
    var pieces = 0
    while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
        demuxer.receive(piece)
        while let output = demuxer.nextOutput() { outputs.append(output) }
        pieces += 1
        if pieces == losesAt { demuxer.lose() }
    }
    demuxer.finish()
    while let output = demuxer.nextOutput() { outputs.append(output) }
    for output in outputs {
        guard case .event(.frame(let frame), let position) = output else { continue }
        precondition(frame.dts <= frame.pts && frame.payload.readableBytes > 0)
        precondition(position >= 0 && position < Int64(input.readableBytes))
    }
    return outputs
}
