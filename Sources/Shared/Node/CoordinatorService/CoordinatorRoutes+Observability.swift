import Exposition
import Hummingbird
import Media
import NIOCore
import Placement
import ProcessStats

/// Health, sums, charts and metrics.
extension CoordinatorRoutes {
    func observabilityCalls() -> [APIRoute] {
        [
            APIRoute(.get, "/healthz", .none) { _ in try await self.health() },
            APIRoute(.get, Self.prefix + "/health", .none) { _ in try await self.health() },
            APIRoute(.get, "/readyz", .none) { _ in
                let readiness = await self.core.readiness()
                return try Self.json(readiness, status: readiness.status == .ready ? .ok : .serviceUnavailable)
            },
            APIRoute(.get, Self.prefix + "/openapi.json", .none) { self.description($0) },
            APIRoute(.get, Self.prefix + "/overview", .viewer) { _ in try Self.json(await self.core.overview()) },
            APIRoute(.get, Self.prefix + "/autoscaling", .viewer) { _ in
                try Self.json(await self.core.autoscaling())
            },
            APIRoute(.get, Self.prefix + "/history", .viewer) { try self.history($0) },
            APIRoute(.get, "/metrics", .viewer) { try await self.metrics($0) },
        ]
    }

    private func health() async throws -> Response {
        let health = await self.core.health()
        return try Self.json(health, status: health.status == "ok" ? .ok : .serviceUnavailable)
    }

    private func description(_ request: APIRequest) -> Response {
        let tag = "\"\(OpenAPIDocument.etag)\""
        let headers: HTTPFields = [.eTag: tag, .cacheControl: "no-cache"]
        if Self.matches(request.header(.ifNoneMatch), tag: tag) {
            return Response(status: .notModified, headers: headers)
        }
        var fields = headers
        fields[.contentType] = "application/json"
        return Response(status: .ok, headers: fields, body: ResponseBody(byteBuffer: OpenAPIDocument.bytes))
    }

    private func history(_ request: APIRequest) throws -> Response {
        let filter = try request.query.filter()
        var key: StreamKey?
        if filter.app != nil || filter.name != nil {
            // Half a name is that of no stream.
            guard filter.app != nil, filter.name != nil else { throw Problem.noHistory }
            key = try request.query.key()
        }
        let now = NIODeadline.now()
        let samples = self.core.facts.history(of: key, now: now)
        guard samples != nil || key == nil else {
            throw Problem.noHistory
        }
        return try Self.json(HistoryAnswer(samples ?? [], of: key, endMillis: CoordinatorCore.wallMillis()))
    }

    // MARK: Metrics

    private func metrics(_ request: APIRequest) async throws -> Response {
        let format = ExpositionFormat(accept: request.header(.accept))
        var text = Exposition(format: format)
        self.writeState(await self.core.health(), to: &text)
        self.writeCluster(await self.core.overview(), await self.core.placementCounts(), to: &text)
        self.writeAutoscaling(await self.core.autoscaling(), to: &text)
        self.writeCounts(to: &text)
        self.writeLists(to: &text)
        self.writeProcess(to: &text)
        return Response(
            status: .ok, headers: [.contentType: format.contentType, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text.finish())))
    }

    private func writeState(_ health: HealthAnswer, to text: inout Exposition) {
        text.family("weir_coordinator_info", .info, "The coordinator.") {
            $0.add(1, [MetricLabel("version", self.configuration.version)])
        }
        text.value("weir_coordinator_up", .gauge, "Whether the database takes writes.", health.status == "ok" ? 1 : 0)
        text.value(
            "weir_coordinator_recovering", .gauge, "Whether nodes may still announce their streams after a start.",
            health.recovering ? 1 : 0)
    }

    private func writeCluster(
        _ overview: Overview, _ placements: [PlacementState: Int], to text: inout Exposition
    ) {
        text.family("weir_cluster_streams", .gauge, "Placements by state.") { samples in
            for state in [PlacementState.claiming, .live, .grace, .ended] {
                samples.add(placements[state] ?? 0, [MetricLabel("state", state.rawValue)])
            }
        }
        text.family("weir_cluster_nodes", .gauge, "Nodes by state.") { samples in
            for state in NodeState.allCases {
                samples.add(overview.nodes[state.rawValue] ?? 0, [MetricLabel("state", state.rawValue)])
            }
        }
        text.family("weir_cluster_viewers", .gauge, "Viewers of all nodes by transport.") { samples in
            for (transport, count) in overview.viewers.sorted(by: { $0.key < $1.key }).prefix(32) {
                samples.add(count, [MetricLabel("transport", transport)])
            }
        }
        text.value("weir_cluster_publishers", .gauge, "Publishers of all nodes.", overview.publishers)
        text.value(
            "weir_cluster_received_bits_per_second", .gauge, "Bits a second that all nodes receive.",
            overview.receivedBitsPerSecond)
        text.value(
            "weir_cluster_sent_bits_per_second", .gauge, "Bits a second that all nodes send.",
            overview.sentBitsPerSecond)
        text.value("weir_cluster_alarms", .gauge, "Alarms of all nodes.", overview.alarms)
    }

    private func writeAutoscaling(_ autoscaling: AutoscalingAnswer, to text: inout Exposition) {
        text.value("weir_cluster_edges", .gauge, "Edges that are alive and not drained.", autoscaling.inputs.edges)
        text.value(
            "weir_cluster_edge_utilisation", .gauge, "Mean used share of those edges.",
            autoscaling.inputs.meanUtilisation)
        text.value(
            "weir_cluster_desired_edges", .gauge, "How many edges the cluster needs.", autoscaling.desiredEdges)
    }

    private func writeCounts(to text: inout Exposition) {
        let counts = self.core.metrics.counts
        text.family("weir_coordinator_claims_total", .counter, "Claims of streams by what came of them.") { samples in
            for result in CoordinatorMetrics.ClaimResult.allCases {
                samples.add(counts.claims[result] ?? 0, [MetricLabel("result", result.rawValue)])
            }
        }
        text.family(
            "weir_coordinator_claim_seconds", .histogram, "Time from a claim to its stored decision."
        ) { $0.add(counts.claimSeconds) }
        text.value("weir_coordinator_commits_total", .counter, "Transactions of the database.", counts.commits)
        text.value(
            "weir_coordinator_failed_commits_total", .counter, "Transactions that failed.", counts.failedCommits)
        text.value(
            "weir_coordinator_writes_total", .counter, "Changes in those transactions.", counts.committedWrites)
        text.family("weir_coordinator_commit_seconds", .histogram, "Time of a transaction.") {
            $0.add(counts.commitSeconds)
        }
        text.value("weir_coordinator_heartbeats_total", .counter, "Heartbeats of nodes.", counts.heartbeats)
        text.value("weir_coordinator_route_lookups_total", .counter, "Routes that were asked for.", counts.routeLookups)
        text.family("weir_coordinator_requests_total", .counter, "Requests by the class of their answer.") { samples in
            for digit in 1...5 {
                samples.add(counts.requests[digit] ?? 0, [MetricLabel("class", "\(digit)xx")])
            }
        }
    }

    private func writeLists(to text: inout Exposition) {
        let counts = self.core.metrics.counts
        text.family("weir_coordinator_node_requests_total", .counter, "Requests to nodes by what came of them.") {
            for result in CoordinatorMetrics.NodeRequestResult.allCases {
                $0.add(counts.nodeRequests[result] ?? 0, [MetricLabel("result", result.rawValue)])
            }
        }
        text.value(
            "weir_coordinator_pending_node_requests", .gauge, "Requests that nodes have not answered yet.",
            self.core.broker.pendingCount)
        text.value("weir_coordinator_watchers", .gauge, "Nodes that follow the placements.", self.core.watchers.count)
        text.value(
            "weir_coordinator_event_followers", .gauge, "Clients that follow the events.",
            self.core.feed.followers.count)
        let rows = self.core.facts.rows
        text.value("weir_coordinator_facts", .gauge, "Facts of streams at nodes that are kept.", rows.kept)
        text.value(
            "weir_coordinator_refused_facts_total", .counter, "Facts that there was no room for.", rows.refused)
    }

    private func writeProcess(to text: inout Exposition) {
        let sample = self.core.sampler.sample()
        text.value("weir_coordinator_resident_bytes", .gauge, "Memory of the process.", sample.residentBytes)
        text.value("weir_coordinator_cores", .gauge, "Processors that the process used.", sample.rates.processCores)
        text.value("weir_coordinator_open_files", .gauge, "Open descriptors.", sample.descriptors.open)
    }
}

extension Problem {
    fileprivate static var noHistory: Problem {
        Problem("no-history", .notFound, "Nothing is kept of this stream")
    }
}
