import Exposition
import GB28181Server
import MediaStorage
import NIOCore
import ProcessStats
import StreamHub

/// `/metrics`: all figures of the node for Prometheus.
///
/// Labels come from closed sets: enumerations of this program, numbers of event loops, folders of the settings. The one
/// exception, the `stream` label, can be switched off, and is bounded when it is on.
struct NodeMetrics {
    let services: NodeAPIServices
    let series: StreamSeries

    /// How media travel. Others are summed as `other`.
    private static let transports: Set<String> = [
        "rtmp", "rtmps", "http-flv", "https-flv", "ws-flv", "wss-flv", "http-ts", "https-ts", "ws-ts", "wss-ts",
        "http-aac", "https-aac", "ws-aac", "wss-aac", "http-mp3", "https-mp3", "ws-mp3", "wss-mp3", "ts", "hls", "dash",
        "srt", "rtsp", "rtsps", "gb28181", "webrtc",
    ]
    /// Causes of refusals: those of `SessionRefusal.Cause`, and those of the admission of connections.
    private static let maximumReasons = 32
    private static let maximumFolders = 64
    private static let maximumLoops = 256

    func answer(accept: String?) async -> NodeAPIResponse {
        let format = ExpositionFormat(accept: accept)
        return NodeAPIResponse(
            status: 200, contentType: format.contentType, headers: [("Cache-Control", "no-store")],
            body: ByteBuffer(string: await self.exposition(format).finish()))
    }

    /// All families.
    func exposition(_ format: ExpositionFormat) async -> Exposition {
        let streams = await self.services.streams()
        let options = self.services.options()
        let sample = self.services.sampler.sample()
        var exposition = Exposition(format: format)
        let look = self.series.look(
            at: streams, maximum: options.metricsOfStreams ? max(0, options.maximumMetricStreams) : 0,
            totals: { options.metricsOfStreams ? self.services.sessions.totals(of: $0) : nil })
        self.process(sample, &exposition)
        self.node(&exposition)
        self.sessions(&exposition)
        self.media(streams, look.all, &exposition)
        self.loops(&exposition)
        self.hooks(&exposition)
        self.forwards(&exposition)
        self.srt(&exposition)
        await self.transportStreams(&exposition)
        if let totals = await self.services.gb28181?.totals() { Self.gb28181(totals, &exposition) }
        self.storage(&exposition)
        self.cache(&exposition)
        if options.metricsOfStreams { StreamMetrics(look: look).write(to: &exposition) }
        self.srs(sample, streams.count, &exposition)
        return exposition
    }

    // MARK: Process and node

    private func process(_ sample: ProcessSample, _ metrics: inout Exposition) {
        metrics.value(
            "process_cpu_seconds_total", .counter, "Seconds of processors that the process used.",
            sample.usage.userSeconds + sample.usage.systemSeconds)
        metrics.value(
            "process_resident_memory_bytes", .gauge, "Memory that the process holds.", sample.residentBytes)
        metrics.value(
            "process_virtual_memory_bytes", .gauge, "Address space of the process.", sample.virtualBytes)
        metrics.value("process_open_fds", .gauge, "Open file descriptors.", sample.descriptors.open)
        metrics.value("process_max_fds", .gauge, "File descriptors that may be open.", sample.descriptors.limit)
        metrics.value(
            "process_threads", .gauge, "Threads of the process.", Int(sample.process?.field("num_threads") ?? 0))
        metrics.value(
            "process_start_time_seconds", .gauge, "Start of the process, seconds since 1970.",
            Double(self.services.identity.startedMillis) / 1_000)
        if let processors = sample.cgroup.processors {
            metrics.value("weir_cpu_limit_cores", .gauge, "Processors that the container may use.", processors)
        }
        if let bytes = sample.cgroup.memoryBytes {
            metrics.value("weir_memory_limit_bytes", .gauge, "Memory that the container may use.", bytes)
        }
    }

    private func node(_ metrics: inout Exposition) {
        let identity = self.services.identity
        let figures = self.services.figures()
        metrics.family("weir_build_info", .info, "Version and role of the node.") {
            $0.add(
                1,
                [
                    MetricLabel("version", identity.version), MetricLabel("role", identity.role),
                    MetricLabel("node", identity.node), MetricLabel("region", identity.region),
                ])
        }
        let readiness = self.services.readiness()
        let problems = Set(
            NodeHealth.problems(readiness, alarms: (self.services.storage?().folders ?? []).compactMap(\.alarm))
                .map(\.name))
        metrics.value("weir_ready", .gauge, "1 if the node takes sessions, as /readyz says.", problems.isEmpty ? 1 : 0)
        metrics.family("weir_not_ready", .gauge, "1 for each reason why the node takes no sessions.") { samples in
            for name in NodeHealth.problemNames {
                samples.add(problems.contains(name) ? 1 : 0, [MetricLabel("reason", name)])
            }
        }
        metrics.value("weir_draining", .gauge, "1 while the node is being drained.", readiness.isDraining ? 1 : 0)
        self.access(figures, &metrics)
        metrics.value("weir_rtmp_connections", .gauge, "Open RTMP connections.", figures.rtmpConnections)
        metrics.value("weir_upstreams", .gauge, "Streams that are pulled from other nodes.", figures.upstreams)
        metrics.family("weir_reloads_total", .counter, "Reloads of the settings, by result.") {
            $0.add(figures.reloads, [MetricLabel("result", "ok")])
            $0.add(figures.failedReloads, [MetricLabel("result", "failed")])
        }
        metrics.family("weir_snapshots_total", .counter, "Pictures of streams, by result.") {
            $0.add(figures.snapshotsMade, [MetricLabel("result", "made")])
            $0.add(figures.snapshotsFailed, [MetricLabel("result", "failed")])
        }
    }

    // MARK: Sessions

    private func sessions(_ metrics: inout Exposition) {
        let totals = self.services.sessions.totals()
        let counts = self.services.sessions.counts
        metrics.value("weir_sessions", .gauge, "Open sessions of all kinds.", counts.open)
        metrics.value("weir_publishers", .gauge, "Sessions that publish.", totals.publishers)
        metrics.value("weir_relays", .gauge, "Sessions of other nodes.", totals.relays)
        metrics.family("weir_players", .gauge, "Sessions that play, by transport.") { samples in
            var players: [String: Int] = [:]
            for (transport, count) in totals.players { players[Self.transport(transport), default: 0] += count }
            for transport in (Self.transports.union(players.keys)).sorted() {
                samples.add(players[transport] ?? 0, [MetricLabel("transport", transport)])
            }
        }
        metrics.value("weir_received_bytes_total", .counter, "Bytes that sessions sent here.", totals.receivedBytes)
        metrics.value("weir_sent_bytes_total", .counter, "Bytes that were sent to sessions.", totals.sentBytes)
        metrics.value("weir_sessions_opened_total", .counter, "Sessions that were opened.", counts.opened)
        metrics.family("weir_session_ends_total", .counter, "What publishing and playing ended by.") { samples in
            for end in SessionEnd.allCases {
                samples.add(counts.ends[end] ?? 0, [MetricLabel("reason", end.rawValue)])
            }
        }
        self.refusals(counts, &metrics)
    }

    private func refusals(_ counts: SessionCounts, _ metrics: inout Exposition) {
        metrics.family("weir_connections_refused_total", .counter, "Connections closed at once, by reason.") {
            for (reason, count) in Self.bounded(counts.refused) { $0.add(count, [MetricLabel("reason", reason)]) }
        }
        var sums: [String: [String: UInt64]] = [:]
        for refusal in self.services.figures().refusals {
            sums[Self.transport(refusal.transport), default: [:]][refusal.cause, default: 0] &+= refusal.count
        }
        metrics.family("weir_refusals_total", .counter, "Sessions refused, by transport and cause.") { samples in
            for (transport, causes) in sums.sorted(by: { $0.key < $1.key }) {
                for (cause, count) in Self.bounded(causes) {
                    samples.add(count, [MetricLabel("transport", transport), MetricLabel("cause", cause)])
                }
            }
        }
    }

    private func access(_ figures: NodeFigures, _ metrics: inout Exposition) {
        metrics.family("weir_access_refusals_total", .counter, "What the rules of access refused, by cause.") {
            samples in
            for (action, causes) in figures.accessRefusals.sorted(by: { $0.key < $1.key }) {
                for (cause, count) in causes.sorted(by: { $0.key < $1.key }) {
                    samples.add(count, [MetricLabel("action", action), MetricLabel("cause", cause)])
                }
            }
        }
        metrics.family("weir_key_set_fetches_total", .counter, "Fetches of the key set of tokens.") {
            $0.add(figures.keySetFetches &- figures.keySetFailures, [MetricLabel("result", "ok")])
            $0.add(figures.keySetFailures, [MetricLabel("result", "failed")])
        }
        metrics.value("weir_key_set_keys", .gauge, "Keys of tokens that can be used.", figures.keySetKeys)
    }

    private static func transport(_ name: String) -> String { self.transports.contains(name) ? name : "other" }

    /// In the order of their names; those beyond the bound summed as `other`.
    private static func bounded(_ counts: [String: UInt64]) -> [(String, UInt64)] {
        let sorted = counts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        guard sorted.count > self.maximumReasons else { return sorted }
        let rest = sorted.dropFirst(self.maximumReasons).reduce(0) { $0 &+ $1.1 }
        return sorted.prefix(self.maximumReasons) + [("other", rest)]
    }

    // MARK: Media

    private func media(_ streams: [NodeStream], _ all: StreamCounts, _ metrics: inout Exposition) {
        metrics.family("weir_streams", .gauge, "Streams of the node, by state.") { samples in
            let states = Dictionary(streams.map { ($0.state, 1) }, uniquingKeysWith: +)
            for state in ["live", "grace", "claiming", "free"] {
                samples.add(states[state] ?? 0, [MetricLabel("state", state)])
            }
        }
        metrics.value(
            "weir_streams_held", .gauge, "Streams that are published on this node.",
            streams.reduce(0) { $0 + ($1.isHeld ? 1 : 0) })
        metrics.family("weir_frames_total", .counter, "Frames that came in, by kind.") {
            $0.add(all.videoFrames, [MetricLabel("kind", "video")])
            $0.add(all.audioFrames, [MetricLabel("kind", "audio")])
        }
        metrics.value(
            "weir_dropped_frames_total", .counter, "Frames before the first keyframe of a source.", all.droppedFrames)
        metrics.family("weir_viewer_skips_total", .counter, "Skips of slow viewers to a later keyframe.") {
            $0.add(all.skipsByBytes, [MetricLabel("reason", "bytes")])
            $0.add(all.skipsByAge, [MetricLabel("reason", "age")])
        }
        metrics.value(
            "weir_slow_viewers_closed_total", .counter, "Viewers closed because they skipped too often.",
            all.slowViewersClosed)
        metrics.value(
            "weir_timeline_jumps_total", .counter, "Jumps of publishers' clocks that were joined.", all.timelineJumps)
        metrics.value(
            "weir_restamped_frames_total", .counter, "Frames whose time was corrected.", all.restampedFrames)
        metrics.value(
            "weir_ring_bytes", .gauge, "Bytes of media kept for viewers.",
            streams.reduce(0) { $0 &+ ($1.ringBytes ?? 0) })
        metrics.value(
            "weir_ring_slabs", .gauge, "Pieces that media for viewers are kept in.",
            streams.reduce(0) { $0 &+ ($1.slabs ?? 0) })
    }

    private func loops(_ metrics: inout Exposition) {
        let lags = self.services.loops.lags().prefix(Self.maximumLoops).enumerated()
        func seconds(_ amount: TimeAmount) -> Double { Double(amount.nanoseconds) / 1e9 }
        metrics.family("weir_loop_lag_seconds", .gauge, "How late an event loop was at its last look at the clock.") {
            for (number, lag) in lags { $0.add(seconds(lag.last), [MetricLabel("loop", "\(number)")]) }
        }
        metrics.family("weir_loop_lag_max_seconds", .gauge, "How late an event loop was at most in the last minute.") {
            for (number, lag) in lags { $0.add(seconds(lag.maximum), [MetricLabel("loop", "\(number)")]) }
        }
    }
}
