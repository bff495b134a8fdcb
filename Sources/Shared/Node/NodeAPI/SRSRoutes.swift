import NIOCore

extension NodeAPI {
    /// SRS's API. `request.path` is what follows `/api/v1`. Forms with and without a final slash are the same.
    func srs(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        switch (request.path.first, request.path.count) {
        case ("vhosts", 1...2): return self.srsVhosts(request)
        case ("streams", 1...2): return await self.srsStreams(request)
        case ("clients", 1...2): return self.srsClients(request)
        case ("raw", 1):
            // SRS takes any method, and scripts send both.
            guard ["GET", "POST"].contains(request.method) else { return .methodNotAllowed(["GET", "POST"]) }
            return await SRSRaw(services: self.services, lastReload: self.lastReload).answer(request.query)
        case ("clusters", 1):
            // SRS's edges and origins ask by an empty POST.
            guard ["GET", "POST"].contains(request.method) else { return .methodNotAllowed(["GET", "POST"]) }
            return await SRSRaw(services: self.services, lastReload: self.lastReload).clusters(request.query)
        case ("recordings", 1...2), ("recording", 1...2): return await self.recordings(request)
        case ("storage", 1): return Self.get(request) { self.storage() }
        case ("cache", 1): return Self.get(request) { self.cache() }
        case ("tests", 2): return self.srsTests(request)
        case (let name, 0...1): return Self.get(request) { self.srsFacts(name, request) }
        default: return self.srsUnknown(request)
        }
    }

    private func srsFacts(_ name: String?, _ request: NodeAPIRequest) -> NodeAPIResponse {
        let process = SRSProcess(services: self.services)
        switch name {
        case nil: return SRSDirectory.v1(self.services)
        case "versions": return SRSDirectory.versions(self.services)
        case "authors": return SRSDirectory.authors(self.services)
        case "features": return SRSDirectory.features(self.services)
        case "requests": return SRSDirectory.requests(self.services, request)
        case "summaries": return process.summaries()
        case "rusages": return process.usage()
        case "self_proc_stats": return process.ownStat()
        case "system_proc_stats": return process.systemStat()
        case "meminfos": return process.memory()
        case "health":
            let isDraining = self.services.readiness().isDraining
            return .json(
                .object([
                    "status": .string(isDraining ? "draining" : "ok"), "node": .string(self.services.identity.node),
                ]))
        default: return self.srsUnknown(request)
        }
    }

    private func srsVhosts(_ request: NodeAPIRequest) -> NodeAPIResponse {
        let vhosts = SRSStreams(services: self.services)
        return Self.get(request) { request.path.count == 2 ? vhosts.vhost(request.path[1]) : vhosts.vhosts() }
    }

    private func srsStreams(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        guard request.method == "GET" else { return .methodNotAllowed(["GET"]) }
        let streams = SRSStreams(services: self.services)
        return request.path.count == 2 ? await streams.stream(request.path[1]) : await streams.streams(request.query)
    }

    private func srsClients(_ request: NodeAPIRequest) -> NodeAPIResponse {
        let clients = SRSStreams(services: self.services)
        switch (request.method, request.path.count) {
        case ("GET", 1): return clients.clients(request.query)
        case ("GET", _): return clients.client(request.path[1])
        case ("DELETE", 2): return clients.kick(request.path[1])
        default: return .methodNotAllowed(request.path.count == 2 ? ["GET", "DELETE"] : ["GET"])
        }
    }

    private func srsTests(_ request: NodeAPIRequest) -> NodeAPIResponse {
        switch request.path[1] {
        case "requests": return SRSDirectory.requests(self.services, request)
        case "errors": return .code(100)
        case "redirects":
            return NodeAPIResponse(
                status: 301, contentType: NodeAPIResponse.textType, headers: [("Location", "/api/v1/tests/errors")])
        default: return self.srsUnknown(request)
        }
    }

    private func srsUnknown(_ request: NodeAPIRequest) -> NodeAPIResponse {
        .notFound("there is no path \(request.target.prefix(200)); GET /api/v1/ lists what there is")
    }
}
