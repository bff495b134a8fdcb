import Exposition
import MediaStorage
import NIOCore
import ObjectCache
import ProcessStats
import Recorder
import SegmentStore
import StreamHub

/// Figures of parts that not every node has, and those that SRS has under its own names.
extension NodeMetrics {
    func hooks(_ metrics: inout Exposition) {
        guard let hooks = self.services.hooks?() else { return }
        let events = hooks.events.prefix(32)
        metrics.family("weir_hook_duration_seconds", .histogram, "How long callbacks took, by event.") {
            for event in events { $0.add(event.latency, [MetricLabel("event", event.name)]) }
        }
        metrics.family("weir_hook_calls_total", .counter, "Callbacks by event and result.") {
            for event in events {
                for (result, count) in [
                    ("allowed", event.allowed), ("denied", event.denied), ("failed", event.failed),
                    ("dropped", event.dropped),
                ] {
                    $0.add(count, [MetricLabel("event", event.name), MetricLabel("result", result)])
                }
            }
        }
        metrics.value("weir_hook_queue", .gauge, "Callbacks that wait for their turn.", hooks.queued)
        metrics.value("weir_hook_deciding", .gauge, "Sessions that wait for the answer to a callback.", hooks.deciding)
        metrics.value(
            "weir_hook_unreachable", .gauge, "Receivers of callbacks that could not be reached lately.",
            hooks.unreachable)
        metrics.family("weir_hook_retries_total", .counter, "Tries of callbacks after the first, by event.") {
            for event in events { $0.add(event.retried, [MetricLabel("event", event.name)]) }
        }
    }

    func transportStreams(_ metrics: inout Exposition) async {
        guard let figures = await self.services.transportStreams?() else { return }
        metrics.value("weir_ts_streams", .gauge, "Transport streams that come over UDP.", figures.streams)
        metrics.value("weir_ts_received_bytes_total", .counter, "Bytes of datagrams that came.", figures.bytes)
        metrics.family(
            "weir_ts_datagrams_total", .counter, "Datagrams of transport streams, by what became of them."
        ) { samples in
            let taken = figures.datagrams - min(figures.datagrams, figures.malformed + figures.foreign)
            for (kind, count) in [
                ("taken", taken), ("malformed", figures.malformed), ("foreign", figures.foreign),
                ("lost", figures.lost),
            ] {
                samples.add(count, [MetricLabel("kind", kind)])
            }
        }
    }

    func srt(_ metrics: inout Exposition) {
        guard let srt = self.services.srt?() else { return }
        metrics.value("weir_srt_connections", .gauge, "Open SRT connections.", srt.connections)
        metrics.value("weir_srt_connections_total", .counter, "SRT connections that were opened.", srt.opened)
        metrics.family("weir_srt_packets_total", .counter, "Packets of SRT, by what became of them.") { samples in
            for (kind, count) in srt.packets { samples.add(Int(count), [MetricLabel("kind", kind)]) }
        }
        metrics.family("weir_srt_turned_away_total", .counter, "SRT peers refused in their handshake, by code.") {
            for (code, count) in srt.turnedAway.sorted(by: { $0.key < $1.key }) {
                $0.add(count, [MetricLabel("code", "\(code)")])
            }
        }
    }

    func forwards(_ metrics: inout Exposition) {
        func family(_ name: String, _ help: String, _ states: [String], of known: [String]) {
            let counts = Dictionary(states.map { ($0, 1) }, uniquingKeysWith: +)
            metrics.family(name, .gauge, help) { samples in
                for state in known {
                    samples.add(counts[state] ?? 0, [MetricLabel("state", state)])
                }
            }
        }
        let known = ["live", "connecting", "waiting"]
        if let forwards = self.services.forwards?() {
            let help = "Streams on their way to other servers, by state."
            family("weir_forwards", help, forwards.map(\.state), of: known)
        }
        if let pulls = self.services.pulls?() {
            let help = "Streams that are fetched from other servers and cameras, by state."
            family("weir_pulls", help, pulls.map(\.state), of: known + ["idle"])
        }
    }

    func storage(_ metrics: inout Exposition) {
        if let statuses = self.services.recordings?.statuses() {
            metrics.value(
                "weir_recordings", .gauge, "Recordings that are being written.",
                statuses.reduce(0) { $0 + ($1.current == nil ? 0 : 1) })
            metrics.value(
                "weir_recordings_blocked", .gauge, "Streams that should be recorded and are not.",
                statuses.reduce(0) { $0 + ($1.problem == nil ? 0 : 1) })
        }
        guard let storage = self.services.storage?() else { return }
        let folders = storage.folders.prefix(64)
        func family(
            _ name: String, _ type: MetricType, _ help: String, _ value: (StorageSnapshot) -> UInt64?
        ) {
            metrics.family(name, type, help) { samples in
                for folder in folders {
                    if let value = value(folder) { samples.add(value, [MetricLabel("root", folder.root)]) }
                }
            }
        }
        family("weir_storage_alarm", .gauge, "1 while a folder cannot be written to.") { $0.alarm == nil ? 0 : 1 }
        family("weir_storage_free_bytes", .gauge, "Room on the disk of a folder.") { $0.space?.freeBytes }
        family("weir_storage_size_bytes", .gauge, "Size of the disk of a folder.") { $0.space?.totalBytes }
        family("weir_storage_queued_bytes", .gauge, "Bytes on their way to the disk.") {
            UInt64(clamping: $0.queuedBytes)
        }
        family("weir_storage_written_bytes_total", .counter, "Bytes written to the disk.") { $0.writtenBytes }
        family("weir_storage_failed_writes_total", .counter, "Writes that failed.") { $0.failedWrites }
        family("weir_storage_dropped_writes_total", .counter, "Writes left out because the disk was too slow.") {
            $0.droppedWrites
        }
        metrics.value(
            "weir_segment_memory_bytes", .gauge, "Bytes of segments and parts in memory.",
            storage.streams.reduce(0) { $0 &+ $1.memoryBytes })
        metrics.value(
            "weir_segment_waiters", .gauge, "Requests that wait for the next segment or part.",
            storage.streams.reduce(0) { $0 &+ $1.waiters })
    }

    func cache(_ metrics: inout Exposition) {
        guard let cache = self.services.cache?() else { return }
        metrics.family("weir_cache_requests_total", .counter, "Requests to the cache, by result.") { samples in
            for (result, count) in [
                ("hit", cache.hits), ("miss", cache.misses), ("wait", cache.waits), ("stale", cache.stale),
                ("negative", cache.negatives), ("refused", cache.refused), ("passed", cache.passedThrough),
            ] { samples.add(count, [MetricLabel("result", result)]) }
        }
        metrics.family("weir_cache_fetches_total", .counter, "Fetches from other nodes, by result.") { samples in
            for (result, count) in [
                ("fetched", cache.fetched), ("not_found", cache.notFound), ("error", cache.errors),
                ("outdated", cache.outdated),
            ] { samples.add(count, [MetricLabel("result", result)]) }
        }
        metrics.value("weir_cache_fetched_bytes_total", .counter, "Bytes from other nodes.", cache.fetchedBytes)
        metrics.value("weir_cache_evictions_total", .counter, "Objects that made room for others.", cache.evictions)
        metrics.value("weir_cache_objects", .gauge, "Objects in memory.", cache.objects)
        metrics.value("weir_cache_bytes", .gauge, "Bytes of objects in memory.", cache.bytes)
        metrics.value("weir_cache_waiters", .gauge, "Requests that wait for a fetch.", cache.waiters)
    }

    /// What dashboards made for SRS read.
    func srs(_ sample: ProcessSample, _ streams: Int, _ metrics: inout Exposition) {
        let facts = self.services.facts
        let identity = self.services.identity
        let totals = self.services.sessions.totals()
        let counts = self.services.sessions.counts
        let system = facts.system + Array(repeating: "", count: 5)
        metrics.family("srs_node_uname_info", .info, "The machine.") {
            $0.add(
                1,
                zip(["sysname", "nodename", "release", "version", "machine"], system).map { MetricLabel($0, $1) })
        }
        metrics.family("srs_build_info", .info, "The program.") {
            $0.add(
                1,
                [
                    MetricLabel("server", identity.server), MetricLabel("service", identity.service),
                    MetricLabel("pid", "\(facts.pid)"), MetricLabel("build_date", ""),
                    MetricLabel("major", String(identity.version.prefix { $0 != "." })),
                    MetricLabel("version", identity.version), MetricLabel("code", "weir"),
                ])
        }
        metrics.value(
            "srs_cpu_percent", .gauge, "Processors that the process uses, in hundredths.",
            sample.rates.processCores * 100)
        metrics.value("srs_memory", .gauge, "Memory that the process holds, in KiB.", sample.residentBytes / 1_024)
        metrics.value("srs_send_bytes_total", .counter, "Bytes that were sent to clients.", totals.sentBytes)
        metrics.value("srs_receive_bytes_total", .counter, "Bytes that clients sent.", totals.receivedBytes)
        metrics.value("srs_streams", .gauge, "Streams of the node.", streams)
        metrics.value(
            "srs_clients", .gauge, "Clients that publish or play.",
            totals.publishers + totals.playerCount + totals.relays)
        metrics.value("srs_clients_total", .counter, "Clients that ever came.", counts.opened)
        metrics.value(
            "srs_clients_errs_total", .counter, "Clients that ended by an error.", counts.ends[.failed] ?? 0)
    }
}

/// Series with a `stream` label, as many as the setting allows, and one for all the others.
struct StreamMetrics {
    let look: StreamSeries.Look

    func write(to metrics: inout Exposition) {
        self.gauges(&metrics)
        self.counters(&metrics)
    }

    private func label(_ stream: NodeStream) -> MetricLabel { MetricLabel("stream", "\(stream.key)") }
    private static let other = MetricLabel("stream", "other")

    private func gauges(_ metrics: inout Exposition) {
        func family(_ name: String, _ help: String, _ value: (NodeStream) -> Double?, sumsOthers: Bool) {
            metrics.family(name, .gauge, help) { samples in
                for entry in self.look.labelled {
                    if let value = value(entry.stream) { samples.add(value, [self.label(entry.stream)]) }
                }
                guard sumsOthers else { return }
                samples.add(self.look.otherStreams.reduce(0) { $0 + (value($1) ?? 0) }, [Self.other])
            }
        }
        family("weir_stream_live", "1 while somebody publishes the stream.", { $0.isLive ? 1 : 0 }, sumsOthers: true)
        family(
            "weir_stream_viewers", "Connections that play the stream here.",
            { Double($0.viewers.values.reduce(0, +)) }, sumsOthers: true)
        family(
            "weir_stream_ring_bytes", "Bytes kept for viewers.", { $0.ringBytes.map { Double($0) } }, sumsOthers: true)
        family(
            "weir_stream_frames_per_second", "Video frames a second.", { $0.framesPerSecond }, sumsOthers: false)
        family(
            "weir_stream_gop_seconds", "Length of the last group of pictures.",
            { $0.gopMillis.map { Double($0) / 1_000 } }, sumsOthers: false)
        family(
            "weir_stream_silent_seconds", "Time since the publisher's last media.",
            { $0.silentFor.map { Double($0.nanoseconds) / 1e9 } }, sumsOthers: false)
    }

    private func counters(_ metrics: inout Exposition) {
        func family(_ name: String, _ help: String, _ value: (StreamCounts) -> UInt64) {
            metrics.family(name, .counter, help) { samples in
                for entry in self.look.labelled { samples.add(value(entry.counts), [self.label(entry.stream)]) }
                samples.add(value(self.look.others), [Self.other])
            }
        }
        family("weir_stream_received_bytes_total", "Bytes that sessions of the stream sent.") { $0.receivedBytes }
        family("weir_stream_sent_bytes_total", "Bytes that were sent to sessions of the stream.") { $0.sentBytes }
        family("weir_stream_video_frames_total", "Video frames that came in.") { $0.videoFrames }
        family("weir_stream_audio_frames_total", "Audio frames that came in.") { $0.audioFrames }
        family("weir_stream_dropped_frames_total", "Frames before the first keyframe.") { $0.droppedFrames }
        family("weir_stream_skips_total", "Skips of slow viewers.") { $0.skipsByBytes &+ $0.skipsByAge }
        family("weir_stream_slow_viewers_closed_total", "Viewers closed because they were too slow.") {
            $0.slowViewersClosed
        }
        family("weir_stream_timeline_jumps_total", "Jumps of the publisher's clock.") { $0.timelineJumps }
    }
}
