import Media
package import NIOCore
import RTP

/// The clocks behind a viewer's sender reports, and what its reports add up to.
///
/// Both tracks share one line from the stream's time to wall time, so players align them by it whatever the tracks' own
/// arrivals did.
struct ReportClock {
    private let startNTP: NTPTime
    private let start: NIODeadline
    /// A point of the stream on the monotonic clock.
    private var point: (time: MediaTime, at: NIODeadline)?
    private var sentBytes: UInt64 = 0
    private var sentAt: NIODeadline
    private var videoLost: Int32 = 0
    private var audioLost: Int32 = 0

    /// How far the line may be from the media before it is drawn anew.
    private static let tolerance = 45_000 as Int64

    init(ntp: NTPTime, at now: NIODeadline) {
        self.startNTP = ntp
        self.start = now
        self.sentAt = now
    }

    /// The wall time of an instant.
    func ntp(at now: NIODeadline) -> NTPTime {
        let nanoseconds = max(0, (now - self.start).nanoseconds)
        let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        let fraction = UInt64(bitPattern: rest) << 32 / 1_000_000_000
        return NTPTime(value: self.startNTP.value &+ UInt64(bitPattern: seconds) << 32 &+ fraction)
    }

    /// The stream's time at `now`, given the last frame of the track that is least late: `time` arrived at `arrival`.
    mutating func time(at now: NIODeadline, time: MediaTime, arrival: NIODeadline) -> MediaTime {
        let measured = MediaTime(ticks: time.ticks + Self.ticks(now - arrival))
        if let point = self.point {
            let drawn = MediaTime(ticks: point.time.ticks + Self.ticks(now - point.at))
            if abs(drawn.ticks - measured.ticks) <= Self.tolerance { return drawn }
        }
        self.point = (measured, now)
        return measured
    }

    fileprivate static func ticks(_ amount: TimeAmount) -> Int64 {
        amount.nanoseconds / 100_000 * 9 + amount.nanoseconds % 100_000 * 9 / 100_000
    }

    /// Bits per second that were sent since the last call.
    mutating func sentRate(bytes: UInt64, now: NIODeadline) -> Double {
        let elapsed = Double(max((now - self.sentAt).nanoseconds, 1_000_000)) / 1e9
        defer {
            self.sentBytes = bytes
            self.sentAt = now
        }
        return Double(bytes - self.sentBytes) * 8 / elapsed
    }

    mutating func lost(_ count: Int32, kind: MediaKind) {
        if kind == .video { self.videoLost = count } else { self.audioLost = count }
    }

    var lostPackets: Int64 { Int64(self.videoLost) + Int64(self.audioLost) }
}

extension RTPViewer {
    /// Appends sender reports of all tracks that were sent, and the canonical name, if it is time. Returns whether it
    /// did: the bytes are one compound RTCP datagram then, to be encrypted.
    ///
    /// Spec: RFC 3550 §6.4.1 and §6.5.
    package mutating func report(into buffer: inout ByteBuffer, now: NIODeadline) -> Bool {
        guard now >= self.nextReport else { return false }
        self.nextReport = now + self.configuration.reportInterval
        self.estimator.expire(now: now)
        let tracks = [self.video, self.audio].compactMap { $0 }.filter { $0.packetCount > 0 }
        // Asked once: if each track drew the line anew, players would align them to two lines. The track that is least
        // late draws it, so that it stays where it is when the other one falls behind.
        let leastLate = tracks.max { $0.lead(at: now) < $1.lead(at: now) }
        guard let leastLate else { return false }
        let time = self.clock.time(at: now, time: leastLate.pointTime, arrival: leastLate.pointArrival)
        var chunks: [RTCPSourceDescription.Chunk] = []
        for track in tracks {
            let report = RTCPSenderReport(
                ssrc: track.ssrc, ntpTime: self.clock.ntp(at: now), rtpTimestamp: track.timestamp(at: time),
                packetCount: track.packetCount, octetCount: track.octetCount)
            RTCPPacket.senderReport(report).write(into: &buffer)
            let name = RTCPSourceDescription.Item(type: 1, text: ByteBuffer(string: self.configuration.cname))
            chunks.append(.init(ssrc: track.ssrc, items: [name]))
        }
        RTCPPacket.sourceDescription(RTCPSourceDescription(chunks: chunks)).write(into: &buffer)
        return true
    }

    /// Appends what tells the viewer that nothing follows: a compound RTCP datagram, to be encrypted. Appends nothing
    /// when nothing was sent. Spec: RFC 3550 §6.6.
    package mutating func goodbye(into buffer: inout ByteBuffer, now: NIODeadline) {
        self.nextReport = now
        guard self.report(into: &buffer, now: now) else { return }
        let ssrcs = [self.video, self.audio].compactMap { $0 }.filter { $0.packetCount > 0 }.map(\.ssrc)
        RTCPPacket.goodbye(RTCPGoodbye(ssrcs: ssrcs)).write(into: &buffer)
    }
}

extension RTPTrackSender {
    /// How far the stream has come at `now` by this track alone.
    fileprivate func lead(at now: NIODeadline) -> MediaTime {
        MediaTime(ticks: self.pointTime.ticks + ReportClock.ticks(now - self.pointArrival))
    }
}
