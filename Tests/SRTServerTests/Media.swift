import MPEGTS
import Media
import NIOCore
import Streaming
import TransportStreams

/// Small frames that a transport stream carries; nothing in them can be decoded.
enum Sample {
    static let video: Track = {
        let sps: [UInt8] = [
            0x67, 0x64, 0x00, 0x1F, 0xAC, 0xD9, 0x40, 0x50, 0x05, 0xBB, 0x01, 0x6A, 0x02, 0x02, 0x02, 0x80, 0x00, 0x00,
            0x03, 0x00, 0x80, 0x00, 0x00, 0x1E, 0x07, 0x8C, 0x18, 0xCB,
        ]
        var record = ByteBuffer()
        do {
            try AVCDecoderConfiguration(
                sequenceParameterSets: [ByteBuffer(bytes: sps)],
                pictureParameterSets: [ByteBuffer(bytes: [0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0])]
            ).write(into: &record)
            return try Track(codec: .h264, parsingConfiguration: record)
        } catch {
            preconditionFailure("\(error)")
        }
    }()

    static let audio = Track(
        codec: .aac, configuration: ByteBuffer(bytes: [0x11, 0x90]),
        format: .audio(AudioFormat(sampleRate: 48_000, channels: 2, profile: "LC", samplesPerFrame: 1_024)))

    static let tracks: [MediaEvent] = [.track(video), .track(audio)]

    /// A picture of 40 ms; each tenth is a keyframe.
    static func picture(_ number: Int, length: Int = 900) -> Frame {
        let isKey = number % 10 == 0
        var payload = ByteBuffer()
        payload.writeInteger(UInt32(length))
        payload.writeInteger(UInt8(isKey ? 0x65 : 0x41))
        payload.writeInteger(UInt8(0x88))
        for index in 2..<length { payload.writeInteger(UInt8(truncatingIfNeeded: index &* 7 &+ number) | 1) }
        let time = MediaTime(ticks: 90_000 + Int64(number) * 3_600)
        return Frame(codec: .h264, dts: time, pts: time, isKeyframe: isKey, payload: payload)
    }

    static func sound(_ number: Int) -> Frame {
        let payload = ByteBuffer(bytes: (0..<120).map { UInt8(truncatingIfNeeded: $0 &* 5 &+ number) })
        let time = MediaTime(ticks: 90_000 + Int64(number) * 1_920)
        return Frame(codec: .aac, dts: time, pts: time, isKeyframe: true, payload: payload)
    }

    /// Pictures and sounds in the order of their times.
    static func frames(_ pictures: Range<Int>, length: Int = 900) -> [Frame] {
        let videos = pictures.map { self.picture($0, length: length) }
        let sounds = (pictures.lowerBound * 3_600 / 1_920..<pictures.upperBound * 3_600 / 1_920).map(self.sound)
        return (videos + sounds).sorted { ($0.dts, $0.kind == .video ? 0 : 1) < ($1.dts, $1.kind == .video ? 0 : 1) }
    }

    /// The same as a transport stream.
    static func stream(_ pictures: Range<Int>, length: Int = 900) -> ByteBuffer {
        var rendition = TSRendition()
        var bytes = ByteBuffer()
        let state = StreamState(video: self.video, audio: self.audio)
        for event in self.tracks + self.frames(pictures, length: length).map({ MediaEvent.frame($0) }) {
            rendition.write(event, state: state, at: .zero, into: &bytes)
        }
        rendition.writeHeldBack(into: &bytes)
        return bytes
    }

    /// The payloads of the pictures and sounds that a transport stream carries.
    static func payloads(of stream: ByteBuffer) -> (video: [ByteBuffer], audio: [ByteBuffer]) {
        var publication = TSPublication()
        let events = publication.receive(stream, now: .now()) + publication.finish()
        var (video, audio): ([ByteBuffer], [ByteBuffer]) = ([], [])
        for case .frame(let frame) in events {
            if frame.kind == .video { video.append(frame.payload) } else { audio.append(frame.payload) }
        }
        return (video, audio)
    }
}
