package import Media
package import NIOCore
package import RTP
package import Streaming

/// What the packets of a stream begin with, for all who are sent the same bytes.
package struct RTSPStreamSeed: Sendable, Hashable {
    package var video: RTSPTrackSeed
    package var audio: RTSPTrackSeed
    /// The wall time now.
    package var ntp: NTPTime
    /// Our canonical name, the same for both tracks: what ties them together. Spec: RFC 3550 §6.5.1.
    package var cname: String

    package init(video: RTSPTrackSeed, audio: RTSPTrackSeed, ntp: NTPTime, cname: String) {
        self.video = video
        self.audio = audio
        self.ntp = ntp
        self.cname = cname
    }
}

/// Makes the packets of a whole stream, for players who were told of the same tracks.
///
/// Feed it the stream's events. A track that turns into another than players were told of is not sent any more: they have
/// to ask anew.
package struct RTSPStreamWriter: Sendable {
    /// Of the stream's time between the sender reports of a track.
    private static let reportInterval = MediaTime(millis: 5_000)

    package let tracks: RTSPTracks
    private let seed: RTSPStreamSeed
    private var video: RTSPTrackWriter?
    private var audio: RTSPTrackWriter?
    private var clock: RTSPWallClock
    private var lastReport: MediaTime?
    /// A track came after the first reports, which did not tell of it.
    private var owesReport = false
    /// The audio is what players were told of.
    private var isAudioTold = true

    package init(tracks: RTSPTracks, seed: RTSPStreamSeed) {
        self.tracks = tracks
        self.seed = seed
        self.clock = RTSPWallClock(ntp: seed.ntp)
    }

    package func writer(_ kind: MediaKind) -> RTSPTrackWriter? { kind == .video ? self.video : self.audio }

    /// A track appeared or changed.
    package mutating func adopt(_ track: Track) {
        let own = RTSPTrack(track)
        if track.kind == .audio { self.isAudioTold = own == self.tracks.audio }
        guard let own, own == self.tracks[track.kind] else { return }
        if track.kind == .video {
            if self.video == nil {
                self.video = RTSPTrackWriter(own, source: track, seed: self.seed.video)
                self.owesReport = self.lastReport != nil
            }
            self.video?.adopt(track)
        } else {
            if self.audio == nil {
                self.audio = RTSPTrackWriter(own, source: track, seed: self.seed.audio)
                self.owesReport = self.lastReport != nil
            }
            self.audio?.adopt(track)
        }
    }

    /// Takes what the stream consists of, where events were missed.
    package mutating func adopt(_ state: StreamState) {
        if let track = state.video, self.video == nil { self.adopt(track) }
        if let track = state.audio, self.audio == nil { self.adopt(track) }
    }

    /// Whether frames of this codec are sent now.
    package func isSent(_ frame: Frame) -> Bool {
        guard self.writer(frame.kind)?.track.codec == frame.codec else { return false }
        return frame.kind == .video || self.isAudioTold
    }

    /// Appends the packets of a frame.
    package mutating func write(
        _ frame: Frame, framing: RTSPTrackWriter.Framing, into buffer: inout ByteBuffer,
        each: (Range<Int>) -> Void = { _ in }
    ) {
        self.clock.anchor(at: frame.dts)
        if frame.kind == .video {
            self.video?.write(frame, framing: framing, into: &buffer, each: each)
        } else {
            self.audio?.write(frame, framing: framing, into: &buffer, each: each)
        }
    }

    /// Whether it is time for sender reports; asked once for each frame that is sent.
    package mutating func isReportDue(at time: MediaTime) -> Bool {
        if self.owesReport {
            (self.owesReport, self.lastReport) = (false, time)
            return true
        }
        guard let last = self.lastReport, time >= last else {
            self.lastReport = time
            return false
        }
        guard time - last >= Self.reportInterval else { return false }
        self.lastReport = time
        return true
    }

    /// Appends the sender report of a track, if the track is sent.
    package func writeReport(
        _ kind: MediaKind, at time: MediaTime, framing: RTSPTrackWriter.Framing, into buffer: inout ByteBuffer
    ) {
        var clock = self.clock
        clock.anchor(at: time)
        self.writer(kind)?.writeReport(
            at: time, ntp: clock.ntp(at: time), cname: self.seed.cname, framing: framing, into: &buffer)
    }
}

/// Renders a stream as interleaved packets, which are the same for all players that chose the same tracks and channels.
package struct RTSPRendition: RenditionEncoder {
    /// The channel of the packets of each track; RTCP goes by the next one or by another.
    package struct Channels: Sendable, Hashable {
        package struct Pair: Sendable, Hashable {
            package var rtp: UInt8
            package var rtcp: UInt8

            package init(rtp: UInt8, rtcp: UInt8) {
                self.rtp = rtp
                self.rtcp = rtcp
            }
        }

        /// `nil`: the player did not set the track up.
        package var video: Pair?
        package var audio: Pair?

        package init(video: Pair?, audio: Pair?) {
            self.video = video
            self.audio = audio
        }

        package subscript(kind: MediaKind) -> Pair? { kind == .video ? self.video : self.audio }

        /// The tracks that are sent.
        package var selection: TrackSelection {
            self.video == nil ? .audioOnly : self.audio == nil ? .videoOnly : .all
        }
    }

    private let channels: Channels
    private var stream: RTSPStreamWriter

    package init(tracks: RTSPTracks, channels: Channels, seed: RTSPStreamSeed) {
        self.channels = channels
        self.stream = RTSPStreamWriter(tracks: tracks, seed: seed)
    }

    /// The name of the rendition for these tracks and channels.
    package static func id(
        tracks: RTSPTracks, channels: Channels, audio: AudioForm, flush: FlushPolicy
    ) -> RenditionID {
        func text(_ pair: Channels.Pair?) -> String { pair.map { "\($0.rtp)-\($0.rtcp)" } ?? "" }
        // Players of different tracks must not share: what one of them was told is not what the other was.
        let told = tracks.all.map {
            "\($0.codec.rawValue)/\($0.payloadType)/\($0.clockRate)/\($0.channels)/\($0.codecHeader)"
        }
        return RenditionID(
            format: "rtsp",
            variant: "\(text(channels.video)),\(text(channels.audio)),\(told.joined(separator: ";"))",
            selection: channels.selection, audio: audio, flush: flush)
    }

    package func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {}

    /// Sender reports come first, so that players know from the first packet on how the tracks belong together.
    package func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {
        var stream = self.stream
        stream.adopt(state)
        self.writeReports(of: stream, at: time, into: &buffer)
    }

    package mutating func write(
        _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
    ) {
        switch event {
        case .track(let track): self.stream.adopt(track)
        case .metadata, .data: break
        case .frame(let frame):
            self.stream.adopt(state)
            guard let channel = self.channels[frame.kind], self.stream.isSent(frame) else { return }
            if self.stream.isReportDue(at: time) { self.writeReports(of: self.stream, at: time, into: &buffer) }
            self.stream.write(frame, framing: .interleaved(channel: channel.rtp), into: &buffer)
        }
    }

    private func writeReports(of stream: RTSPStreamWriter, at time: MediaTime, into buffer: inout ByteBuffer) {
        for kind in [MediaKind.video, .audio] {
            guard let channel = self.channels[kind] else { continue }
            stream.writeReport(kind, at: time, framing: .interleaved(channel: channel.rtcp), into: &buffer)
        }
    }
}
