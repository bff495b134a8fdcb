import Foundation

/// What a recording holds, and how it differs from its source.
struct MatrixFinding: Decodable, Sendable {
    /// One decoded picture, or one packet of sound.
    struct Unit: Sendable, Decodable {
        let micros: Int
        let hash: String

        init(from decoder: any Decoder) throws {
            var values = try decoder.unkeyedContainer()
            self.micros = try values.decode(Int.self)
            self.hash = try values.decode(String.self)
        }
    }

    struct Track: Decodable, Sendable {
        let codec: String
        let units: [Unit]
        /// All of a codec that is cut into packets at will.
        let bytes: Data?
    }

    struct Sound: Decodable, Sendable {
        struct Pause: Decodable, Sendable {
            let start: Int
            let length: Int

            init(from decoder: any Decoder) throws {
                var values = try decoder.unkeyedContainer()
                self.start = try values.decode(Int.self)
                self.length = try values.decode(Int.self)
            }
        }

        let hertz: Double
        /// In microseconds.
        let pauses: [Pause]
    }

    let name: String
    let video: Track
    let audio: Track
    let sound: Sound
    let errors: [String]

    // MARK: Comparing

    /// How far the times of a part may be from the source's, beside its one offset.
    struct Tolerance: Sendable {
        /// A millisecond, and another where what the tests keep has whole milliseconds.
        let picture: Int
        /// The same, and what rounding the publisher's file adds: it has whole milliseconds, which 1024 samples are not.
        let sound: Int
        /// How far sound may be from its picture: Opus' 6.5 ms in front of the first sample are counted by some
        /// containers; over WebRTC both are together as well as the sender's reports tell.
        let synchrony: Int
        /// FFmpeg counts the 1152 samples of the first frame of MP3 by RTP as ticks of 90 kHz, and so has it too late.
        let isLateFirst: Bool

        init(_ cell: MatrixCell) {
            self.isLateFirst = cell.delivery == .rtsp && cell.audio == .mp3
            self.picture = cell.delivery.hasMillisecondClock ? 2_000 : 1_000
            self.sound = self.picture + 1_000
            let isByReports = cell.ingest == .whip || cell.ingest == .rtsp || cell.delivery == .whep
            self.synchrony = isByReports ? 25_000 : 12_000
        }
    }

    private struct Match {
        /// How far the times of the part are from the source's.
        let offset: Int
        let seconds: Double
    }

    /// Why a track is no part of its source, in one piece.
    private enum Mismatch: Error { case because(String) }

    /// Says how this differs from what `cell` promises of `source`; `nil` if it is as promised.
    func difference(from source: MatrixFinding, _ cell: MatrixCell, atLeast seconds: Double = 3) -> String? {
        let tolerance = Tolerance(cell)
        do throws(Mismatch) {
            if !self.errors.isEmpty, self.video.units.isEmpty { throw .because(self.errors.joined(separator: "; ")) }
            guard self.video.codec == source.video.codec else { throw .because("its picture is \(self.video.codec)") }
            let isSqueezed = cell.delivery == .whep
            let picture = try Self.match(
                self.video, source.video, tolerance: tolerance.picture, isSqueezed: isSqueezed, "pictures")
            guard picture.seconds >= seconds else { throw .because("\(picture.seconds) s of pictures") }
            switch cell.rule {
            case .exact: try self.checkExact(source, picture, tolerance)
            case .derived(let codec): try self.checkDerived(source, codec, picture, tolerance)
            case .impossible: throw .because("it cannot be, and is")
            }
            return nil
        } catch {
            guard case .because(let text) = error else { return nil }
            return self.errors.isEmpty ? text : "\(text) (\(self.errors.joined(separator: "; ")))"
        }
    }

    private func checkExact(
        _ source: MatrixFinding, _ picture: Match, _ tolerance: Tolerance
    ) throws(Mismatch) {
        guard self.audio.codec == source.audio.codec else { throw .because("its sound is \(self.audio.codec)") }
        let sound =
            self.audio.codec.hasPrefix("pcm_")
            ? try self.matchBytes(source, tolerance)
            : try Self.match(
                self.audio, source.audio, tolerance: tolerance.sound, isLateFirst: tolerance.isLateFirst, "sound")
        guard sound.seconds >= picture.seconds - 0.6 else {
            throw .because("\(sound.seconds) s of sound with \(picture.seconds) s of pictures")
        }
        let distance = sound.offset - picture.offset
        guard abs(distance) <= tolerance.synchrony else { throw .because("sound is \(distance) µs late") }
    }

    /// The sound is the source's by ear: its pitch, without a gap, its pauses at their places beside the picture.
    private func checkDerived(
        _ source: MatrixFinding, _ codec: MatrixAudio, _ picture: Match, _ tolerance: Tolerance
    ) throws(Mismatch) {
        guard self.audio.codec == codec.rawValue.lowercased() else {
            throw .because("its sound is \(self.audio.codec)")
        }
        guard (425...450).contains(self.sound.hertz) else { throw .because("its sound has \(self.sound.hertz) Hz") }
        let times = self.audio.units.dropLast().map(\.micros)
        guard let first = times.first, let last = times.last, times.count > 1 else { throw .because("it has no sound") }
        let step = (last - first) / (times.count - 1)
        for (index, time) in times.enumerated() where abs(time - first - index * step) > 2 * tolerance.sound {
            throw .because("packet \(index) of its sound is at \(time - first) µs, with \(step) µs each")
        }
        guard Double(last - first) / 1e6 >= picture.seconds - 0.6 else {
            throw .because("\(Double(last - first) / 1e6) s of sound with \(picture.seconds) s of pictures")
        }
        guard self.sound.pauses.count >= 2 else { throw .because("\(self.sound.pauses.count) of its pauses are heard") }
        // What is begun in the midst of MP3 lacks the bits that frames before it hold for its first ones.
        for pause in self.sound.pauses where pause.start - first > 100_000 {
            let time = pause.start - picture.offset
            let wanted = source.sound.pauses.min { abs($0.start - time) < abs($1.start - time) }
            guard let wanted, abs(wanted.start - time) <= tolerance.synchrony,
                abs(wanted.length - pause.length) <= 15_000
            else {
                let place = "\(time) µs, \(pause.start - first) µs behind its first packet,"
                throw .because("a pause of \(pause.length) µs at \(place) is not the source's")
            }
        }
    }

    /// Finds the one place in `source` where all units of `part` are, in order, at their times.
    ///
    /// - Parameters:
    ///   - isSqueezed: the first pictures may follow each other by a millisecond: so a viewer of WebRTC gets what was
    ///     before it came.
    ///   - isLateFirst: the time of the first unit is not looked at.
    private static func match(
        _ part: Track, _ source: Track, tolerance: Int, isSqueezed: Bool = false, isLateFirst: Bool = false,
        _ what: String
    ) throws(Mismatch) -> Match {
        // What was cut off ends anywhere in a unit.
        let part = part.units.dropLast(), source = source.units
        guard let first = part.first else { throw .because("it has no \(what)") }
        var reason = "its \(what) start with something else"
        for start in source.indices where source[start].hash == first.hash {
            guard start + part.count <= source.count else {
                reason = "there are more \(what) than the source has"
                continue
            }
            if let other = part.indices.first(where: { part[$0].hash != source[start + $0].hash }) {
                reason = "\(what): unit \(other) of \(part.count) is not unit \(start + other) of the source"
                continue
            }
            var squeezed = isLateFirst ? 1 : 0
            while isSqueezed, squeezed + 1 < part.count, part[squeezed + 1].micros - part[squeezed].micros < 2_000 {
                squeezed += 1
            }
            let offsets = part.indices.map { part[$0].micros - source[start + $0].micros }.dropFirst(squeezed)
            guard let offset = offsets.first, let end = part.last else { continue }
            if let other = offsets.indices.first(where: { abs(offsets[$0] - offset) > tolerance }) {
                reason = "\(what): unit \(other) of \(part.count) is \(offsets[other] - offset) µs late"
                continue
            }
            return Match(offset: offset, seconds: Double(end.micros - part[squeezed].micros) / 1e6)
        }
        throw .because(reason)
    }

    /// G.711 is a flow of bytes, 8000 a second: packets may be cut anew.
    private func matchBytes(_ source: MatrixFinding, _ tolerance: Tolerance) throws(Mismatch) -> Match {
        guard let all = source.audio.bytes, let bytes = self.audio.bytes,
            let found = all.range(of: bytes.dropLast(400)),
            let first = self.audio.units.first, let begin = source.audio.units.first
        else { throw .because("its bytes of sound are not the source's") }
        let start = all.distance(from: all.startIndex, to: found.lowerBound)
        return Match(offset: first.micros - begin.micros - start * 125, seconds: Double(bytes.count) / 8_000)
    }
}

/// Decodes recordings with libav, all of a stream in one process.
enum MatrixJudge {
    struct Job: Sendable {
        let name: String
        let files: [URL]
        /// Whether its sound is decoded, too.
        let listens: Bool
    }

    static func look(_ sandbox: Sandbox, _ name: String, _ jobs: [Job]) async throws -> [String: MatrixFinding] {
        let list: [[Any]] = jobs.map { [$0.name, $0.files.map(\.path), $0.listens] }
        let file = try sandbox.write("judge-\(name).json", try MatrixScripts.json(list))
        let script = try sandbox.write("judge-\(name).py", self.script)
        let text = try await sandbox.run(try Tools.python, [script.path, file.path], within: .seconds(180))
        let found = try text.split(separator: "\n").map {
            try JSONDecoder().decode(MatrixFinding.self, from: Data($0.utf8))
        }
        return Dictionary(found.map { ($0.name, $0) }) { $1 }
    }

    private static let script = #"""
        """Reads recordings: each picture decoded, each packet of sound as it came, and how the sound sounds. One JSON line a recording."""
        import base64, hashlib, json, sys
        import av

        av.logging.set_level(av.logging.PANIC)


        def picture(frame):
            """What is seen, without the padding of lines."""
            digest = hashlib.md5()
            for plane in frame.planes:
                data, stride = memoryview(plane), plane.line_size
                for at in range(0, stride * plane.height, stride):
                    digest.update(data[at:at + plane.width])
            return digest.hexdigest()


        class Sound:
            """Decoded sound at 8 kHz: how often the wave goes up through zero while it is heard, and when it is not."""
            def __init__(self):
                self.resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
                self.samples, self.rises, self.low, self.quiet, self.pauses = 0, 0, False, 0, []

            def add(self, frame, base):
                start, at = frame.pts * (frame.time_base or base), 0
                frame.pts = None
                for each in self.resampler.resample(frame):
                    for value in memoryview(bytes(each.planes[0])[:2 * each.samples]).cast("h"):
                        if value < -2000:
                            self.low = True
                        elif value > 2000 and self.low:
                            self.low, self.rises = False, self.rises + 1
                        if -2000 < value < 2000:
                            self.quiet += 1
                        else:
                            # From zero to 2000 it is some samples, in each wave.
                            if self.quiet > 80 and self.rises:
                                self.pauses.append([round((float(start) + (at - self.quiet) / 8000) * 1000000), self.quiet * 125])
                                self.samples -= self.quiet
                            self.quiet = 0
                        at += 1
                        self.samples += 1

            def told(self):
                return {"hertz": self.rises * 8000 / max(1, self.samples - self.quiet), "pauses": self.pauses}


        def micros(time, base):
            return round(time * base * 1000000)


        def bare(data):
            """AAC without the header of ADTS."""
            return data[9 if not data[1] & 1 else 7:] if len(data) > 9 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0 else data


        def noted(path, found, listens):
            """What the player of WebRTC noted."""
            with open(path) as file:
                streams = json.load(file)
            for kind, stream in streams.items():
                name = {"h265": "hevc", "pcma": "pcm_alaw", "pcmu": "pcm_mulaw"}.get(stream["codec"], stream["codec"])
                codec, clock = av.CodecContext.create(name, "r"), stream["clock"]
                found[kind]["codec"] = name
                if name.startswith("pcm"):
                    codec.sample_rate, codec.layout = 8000, "mono"
                # The time of the sender's clock, by a report from the middle of the stream.
                offset, reports = 0, stream["reports"]
                if reports:
                    ntp, rtp = reports[len(reports) // 2]
                    ahead = (stream["origin"] - rtp + (1 << 31)) % (1 << 32) - (1 << 31)
                    offset = round((ntp / (1 << 32) % 100000 + ahead / clock) * 1000000)
                for time, text in stream["units"]:
                    data = base64.b64decode(text)
                    packet = av.Packet(data)
                    packet.pts = packet.dts = offset + round(time * 1000000 / clock)
                    take(codec, packet, 1 / 1000000, kind, data, found, listens)
                take(codec, None, 1 / 1000000, kind, b"", found, listens)


        def take(codec, packet, base, kind, data, found, listens):
            if kind == "audio" and packet is not None:
                found["audio"]["units"].append([micros(packet.pts, base), hashlib.md5(data).hexdigest(), len(data)])
                if found["audio"]["codec"].startswith("pcm"):
                    found["audio"].setdefault("bytes", bytearray()).extend(data)
            if kind == "audio" and not listens:
                return
            try:
                for frame in codec.decode(packet):
                    if kind == "video":
                        found["video"]["units"].append([micros(frame.pts, base), picture(frame), 0])
                    else:
                        found["sound"].add(frame, base)
            except av.FFmpegError as error:
                found["errors"].append(f"{kind}: {error}")


        def read(path, found, listens):
            with av.open(path) as media:
                for stream in media.streams:
                    if stream.type in ("video", "audio"):
                        found[stream.type]["codec"] = stream.codec_context.name
                        stream.codec_context.thread_count = 1
                for packet in media.demux():
                    stream = packet.stream
                    if stream.type not in ("video", "audio") or packet.pts is None and packet.size:
                        continue
                    data = bytes(packet) if packet.size else b""
                    if stream.codec_context.name == "aac" and stream.type == "audio":
                        data = bare(data)
                    take(stream.codec_context, packet if packet.size else None, float(stream.time_base), stream.type, data,
                         found, listens)


        for name, paths, listens in json.loads(open(sys.argv[1]).read()):
            found = {"name": name, "video": {"codec": "", "units": []}, "audio": {"codec": "", "units": []}, "sound": Sound(),
                     "errors": []}
            for path in paths:
                try:
                    (noted if path.endswith(".json") else read)(path, found, listens)
                except (OSError, ValueError, av.FFmpegError) as error:
                    found["errors"].append(f"{error}")
            found["sound"] = found["sound"].told()
            found["audio"]["bytes"] = base64.b64encode(found["audio"].get("bytes", b"")).decode()
            found["errors"] = found["errors"][:3] + ([f"{len(found['errors'])} in all"] if len(found["errors"]) > 3 else [])
            print(json.dumps(found), flush=True)
        """#
}
