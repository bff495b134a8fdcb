import Foundation

/// One way in with one codec of pictures: publishes a stream with each codec of sound to an origin, and keeps what all
/// ways out give of it at an edge.
struct MatrixRun: Sendable {
    let sandbox: Sandbox
    let ingest: MatrixIngest
    let sources: MatrixSources
    let origin: ClusterNode
    let edge: ClusterNode
    /// Where the origin listens for transport streams, by the codec of their sound.
    private let ports: [MatrixAudio: Int]
    let sipAddress: String?

    /// Players by RTMP that know AAC alone get AAC, as do HTTP-TS and SRT, unless an app says otherwise.
    private static let settings = """
        vhosts:
          - name: __defaultVhost__
            domains: [localhost]
            apps:
              opus: {audio.live: source, audio.packaged: source}
        """

    init(_ sandbox: Sandbox, _ ingest: MatrixIngest, _ video: MatrixVideo) async throws {
        self.sandbox = sandbox
        self.ingest = ingest
        self.sources = try await MatrixSources(sandbox, video)
        let cluster = try await Cluster(sandbox)
        let launch = Launch(environment: [
            "WEIR_CONFIG": try sandbox.write("matrix.yaml", Self.settings).path
        ])
        let common = [
            "cluster.coordinator": "http://127.0.0.1:\(cluster.coordinator.apiPort)", "cluster.secret": Cluster.secret,
            "stream.publish.grace": "1s",
        ]
        var own = ["stream.hls.segment_duration": "1s", "stream.dvr.enabled": "true"]
        let free = try Sandbox.freePorts(MatrixAudio.allCases.count)
        let ports = Dictionary(uniqueKeysWithValues: zip(MatrixAudio.allCases, free))
        self.ports = ports
        if ingest == .gb28181 { own.merge(Self.deviceSettings(try Sandbox.freePorts(2))) { $1 } }
        self.sipAddress = own["gb28181.listen"]
        if ingest == .udp {
            own["ts.listeners"] = MatrixAudio.allCases.map { audio in
                "udp://127.0.0.1:\(ports[audio] ?? 0)/\(Self.key(audio))"
            }.joined(separator: ",")
            own["ts.idle_timeout"] = "1s"
        }
        self.origin = try await Cluster.node(
            "origin", role: "origin", common.merging(own) { $1 }, sandbox, launch)
        self.edge = try await Cluster.node("edge", role: "edge", common, sandbox, launch)
    }

    /// Opus has an app of its own, where it stays what it is.
    func key(_ audio: MatrixAudio) -> String {
        self.ingest == .gb28181 ? "live/\(Self.channelID(audio))" : Self.key(audio)
    }

    private static func key(_ audio: MatrixAudio) -> String { audio == .opus ? "opus/stream" : "live/\(audio)" }

    /// The codecs of sound that can come this way.
    var sounds: [MatrixAudio] { MatrixAudio.allCases.filter { MatrixCell.reason(self.ingest, $0) == nil } }

    // MARK: Publishing

    /// Publishes all streams that can be, in real time.
    func publish() async throws -> [MatrixPublisher] {
        switch self.ingest {
        case .whip: return [.process(try self.publishByWHIP(self.sounds))]
        case .gb28181: return try await self.publishByDevices(self.sounds)
        default: return try self.sounds.map { .process(try self.publish($0)) }
        }
    }

    func publish(_ audio: MatrixAudio) throws -> Child {
        let key = self.key(audio)
        let ffmpeg: String
        let target: [String]
        switch self.ingest {
        case .rtmp: (ffmpeg, target) = (try Tools.newFFmpeg, ["-f", "flv", self.origin.rtmp(key)])
        case .post:
            (ffmpeg, target) = (try Tools.newFFmpeg, ["-f", "flv", "-method", "POST", self.origin.flv(key)])
        case .srt:
            let url = SRTClients.url(self.origin.srtPort, "#!::r=\(key),m=publish")
            (ffmpeg, target) = (try Tools.ffmpeg, ["-f", "mpegts", url])
        case .udp:
            let url = "udp://127.0.0.1:\(self.ports[audio] ?? 0)?pkt_size=1316"
            (ffmpeg, target) = (try Tools.ffmpeg, ["-f", "mpegts", url])
        case .rtsp:
            (ffmpeg, target) = (try Tools.ffmpeg, ["-f", "rtsp", "-rtsp_transport", "tcp", self.origin.rtsp(key)])
        case .whip: return try self.publishByWHIP([audio])
        case .gb28181: throw Failure("devices publish when they are invited")
        }
        return try self.sandbox.start(
            "publish-\(audio.rawValue)", ffmpeg,
            Media.quiet + ["-re", "-i", self.sources.file(audio).path, "-map", "0", "-c", "copy"] + target)
    }

    func publishByWHIP(_ sounds: [MatrixAudio]) throws -> Child {
        let jobs = sounds.map { audio in
            [
                self.origin.http("\(self.key(audio))/whip"), self.sources.file(audio).path, self.sources.video.name,
                self.sources.name(audio),
            ]
        }
        return try self.sandbox.python("publish-whip", MatrixScripts.whip, [try MatrixScripts.json(jobs)])
    }

    /// Publishes what cannot come this way.
    func publishImpossible() async throws -> [(audio: MatrixAudio, publisher: MatrixPublisher)] {
        var found: [(MatrixAudio, MatrixPublisher)] = []
        for audio in MatrixAudio.allCases where !self.sounds.contains(audio) {
            if self.ingest == .gb28181 {
                // The type of private data in packets, as of Opus in a transport stream.
                let settings = try await self.device(audio, type: 0x06)
                found.append((audio, .device(try SimulatedDevice(self.sandbox, settings, name: "device-\(audio)"))))
            } else {
                found.append((audio, .process(try self.publish(audio))))
            }
        }
        return found
    }

    /// Waits until the origin has refused what cannot be, or left its sound out, and has logged which and why.
    func isLeftOut(_ audio: MatrixAudio, _ publisher: MatrixPublisher) async throws {
        let key = self.key(audio)
        if case .process(let child) = publisher, self.ingest == .whip {
            guard try await child.wait(within: .seconds(20)) != .exited(0) else {
                throw Failure("\(audio) was taken")
            }
            let name = audio == .aac ? "MPEG4-GENERIC" : "MPA"
            let lines = self.origin.lines(with: "session refused").filter { $0.contains(key) && $0.contains(name) }
            guard !lines.isEmpty else { throw Failure("no line says that \(audio) is refused") }
            return
        }
        try await until("the picture of \(key) is live alone, and the log says so", within: .seconds(15)) {
            let stream = try await self.origin.stream(key)
            return stream?.state == "live" && stream?.tracks.map(\.codec) == [self.sources.video.name]
                && self.origin.lines(with: "tracks are left out").contains { $0.contains(key.dropFirst("live/".count)) }
        }
    }

    /// Waits until the origin has both tracks of a stream.
    func isLive(_ audio: MatrixAudio) async throws {
        let codecs: Set = [self.sources.video.name, self.sources.name(audio)]
        try await until("\(audio) and its picture are live", within: .seconds(15)) {
            let stream = try await self.origin.stream(self.key(audio))
            return stream?.state == "live" && Set(stream?.tracks.map(\.codec) ?? []) == codecs
        }
    }

    // MARK: Playing

    /// Starts all players at the edge.
    func play() throws -> [MatrixRecording] {
        // The slowest to come are the first to go.
        var recordings = try [.whep, .dash, .lowLatency].flatMap { try self.playTogether($0) }
        for audio in self.sounds {
            for delivery in MatrixDelivery.allCases {
                if let one = try self.play(delivery, audio) { recordings.append(one) }
            }
        }
        return recordings
    }

    private func cell(_ delivery: MatrixDelivery, _ audio: MatrixAudio) -> MatrixCell {
        MatrixCell(ingest: self.ingest, delivery: delivery, video: self.sources.video, audio: audio)
    }

    /// A player with a process of its own; `nil` for those that share one.
    private func play(_ delivery: MatrixDelivery, _ audio: MatrixAudio) throws -> MatrixRecording? {
        let key = self.key(audio)
        let name = "\(delivery)-\(audio)"
        let file = self.sandbox.file("\(name).\(delivery == .flv ? "flv" : delivery == .ts ? "ts" : "mkv")")
        let ffmpeg: String
        let input: [String]
        var length: [String] = []
        switch delivery {
        case .flv, .ts:
            let url = delivery == .flv ? "\(self.edge.flv(key))?audio=source" : self.edge.http("\(key).ts")
            let child = try Media.download(self.sandbox, url, to: file.lastPathComponent).child
            return MatrixRecording(cell: self.cell(delivery, audio), files: [file], process: child)
        case .rtmp:
            (ffmpeg, input) = (try Tools.newFFmpeg, ["-rtmp_enhanced_codecs", "hvc1,Opus", "-i", self.edge.rtmp(key)])
        case .srt: (ffmpeg, input) = (try Tools.ffmpeg, ["-i", SRTClients.url(self.edge.srtPort, key)])
        case .rtsp:
            (ffmpeg, input) = (
                try Tools.ffmpeg, ["-copyts", "-rtsp_transport", "tcp", "-i", self.edge.rtsp(key)]
            )
        case .hls:
            (ffmpeg, input) = (try Tools.ffmpeg, ["-live_start_index", "0", "-i", self.edge.http("\(key).m3u8")])
            length = ["-t", "5"]
        case .dash, .lowLatency, .whep, .dvr: return nil
        }
        let child = try self.sandbox.start(
            "play-\(name)", ffmpeg,
            Media.quiet + ["-analyzeduration", "1000000"] + input + length
                + ["-map", "0", "-c", "copy", "-cluster_time_limit", "200", "-flush_packets", "1", "-y"]
                + ["-f", "matroska", file.path])
        return MatrixRecording(cell: self.cell(delivery, audio), files: [file], process: child)
    }

    /// One process for the streams of all sounds.
    private func playTogether(_ delivery: MatrixDelivery) throws -> [MatrixRecording] {
        var jobs: [[String]] = []
        var files: [MatrixAudio: [URL]] = [:]
        for audio in self.sounds {
            let url = self.edge.http(self.key(audio))
            let tracks = ["video", "audio"].map { self.sandbox.file("\(delivery)-\(audio)-\($0).mp4") }
            switch delivery {
            case .whep:
                let file = self.sandbox.file("\(delivery)-\(audio).json")
                files[audio] = [file]
                jobs.append(["\(url)/whep", file.path])
            case .dash:
                files[audio] = tracks
                jobs.append(["\(url).mpd"] + tracks.map(\.path))
            default:
                files[audio] = tracks
                jobs += zip(["_video", "_audio"], tracks).map { ["\(url)/\($0).m3u8", $1.path] }
            }
        }
        let scripts = [MatrixDelivery.whep: MatrixScripts.whep, .dash: MatrixScripts.dash]
        let child = try self.sandbox.python(
            "play-\(delivery)", scripts[delivery] ?? MatrixScripts.lowLatency, [try MatrixScripts.json(jobs)])
        return self.sounds.map {
            MatrixRecording(cell: self.cell(delivery, $0), files: files[$0] ?? [], process: child)
        }
    }

    /// Lets the players get what is on its way, and ends those that do not end with the stream.
    func stop(_ recordings: [MatrixRecording]) async throws {
        try await Task.sleep(for: .milliseconds(1_500))
        let players = recordings.compactMap(\.process)
        for player in players { player.signal(2) }
        let deadline = ContinuousClock.now + .seconds(15)
        while players.contains(where: \.isRunning), .now < deadline { try await Task.sleep(for: .milliseconds(20)) }
        for player in players where player.isRunning { player.destroy() }
    }

    /// The file that the origin wrote of a stream.
    func recorded(_ audio: MatrixAudio) async throws -> MatrixRecording {
        let file = try await self.origin.finishes(self.key(audio), count: 1)[0]
        return MatrixRecording(cell: self.cell(.dvr, audio), files: [URL(fileURLWithPath: file.path)], process: nil)
    }

    // MARK: Judging

    /// What each recording is instead of what its cell promises.
    func differences(_ recordings: [MatrixRecording]) async throws -> [(cell: MatrixCell, difference: String?)] {
        var found: [(MatrixCell, String?)] = []
        try await withThrowingTaskGroup(of: [(MatrixCell, String?)].self) { group in
            for audio in self.sounds {
                let own = recordings.filter { $0.cell.audio == audio }
                group.addTask { try await self.judge(audio, own) }
            }
            for try await part in group { found += part }
        }
        return found
    }

    private func judge(
        _ audio: MatrixAudio, _ recordings: [MatrixRecording]
    ) async throws -> [(MatrixCell, String?)] {
        let jobs =
            [MatrixJudge.Job(name: "source", files: [self.sources.file(audio)], listens: true)]
            + recordings.map { recording in
                var listens = false
                if case .derived = recording.cell.rule { listens = true }
                return MatrixJudge.Job(name: recording.cell.delivery.rawValue, files: recording.files, listens: listens)
            }
        let found = try await MatrixJudge.look(self.sandbox, "\(audio)", jobs)
        guard let source = found["source"] else { throw Failure("the source was not looked at") }
        return recordings.map { recording in
            let finding = found[recording.cell.delivery.rawValue]
            return (recording.cell, finding.map { $0.difference(from: source, recording.cell) } ?? "nothing was kept")
        }
    }
}

/// Who brings one stream or several of them.
enum MatrixPublisher: Sendable {
    case process(Child)
    case device(SimulatedDevice)

    /// Waits until all was sent.
    func ends() async throws {
        switch self {
        case .process(let child):
            let ending = try await child.wait(within: .seconds(40))
            guard ending == .exited(0) else { throw Failure(child.report) }
        case .device(let device):
            try await device.event("media-end", within: .seconds(40))
            guard device.events("media-error").isEmpty else { throw Failure(device.child.report) }
        }
    }
}

/// What one player kept.
struct MatrixRecording: Sendable {
    let cell: MatrixCell
    let files: [URL]
    /// `nil` for what the origin wrote itself.
    let process: Child?
}
