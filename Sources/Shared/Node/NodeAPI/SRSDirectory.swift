import NIOCore
import ProcessStats

/// The parts of SRS's API that say where the others are, and its tests.
enum SRSDirectory {
    /// The members that begin most of SRS's answers.
    static func envelope(_ services: NodeAPIServices) -> JSONValue {
        .object([
            "code": .integer(0), "server": .string(services.identity.server),
            "service": .string(services.identity.service), "pid": .string("\(services.facts.pid)"),
        ])
    }

    static func answer(_ services: NodeAPIServices, _ members: KeyValuePairs<String, JSONValue?>) -> NodeAPIResponse {
        .json(self.envelope(services).merging(.object(members)))
    }

    static func root(_ services: NodeAPIServices) -> NodeAPIResponse {
        self.answer(
            services,
            [
                "urls": .object([
                    "api": .string("the api root"), "metrics": .string("figures for Prometheus"),
                    "healthz": .string("the process answers"), "readyz": .string("the node takes sessions"),
                ])
            ])
    }

    static func api(_ services: NodeAPIServices) -> NodeAPIResponse {
        self.answer(
            services,
            [
                "urls": .object([
                    "v1": .string("the api version 1.0, as SRS has it"), "v2": .string("the api of Weir"),
                ])
            ])
    }

    static func v1(_ services: NodeAPIServices) -> NodeAPIResponse {
        self.answer(
            services,
            [
                "urls": .object([
                    "versions": .string("the version of Weir"),
                    "summaries": .string("the summary(pid, argv, pwd, cpu, mem) of the node"),
                    "rusages": .string("the rusage of the node"),
                    "self_proc_stats": .string("the self process stats"),
                    "system_proc_stats": .string("the system process stats"),
                    "meminfos": .string("the meminfo of system"),
                    "authors": .string("the license and authors"),
                    "features": .string("the supported features"),
                    "requests": .string("the request itself, for http debug"),
                    "vhosts": .string("manage all vhosts or specified vhost"),
                    "streams": .string("manage all streams or specified stream"),
                    "clients": .string("manage all clients or specified client, default query top 10 clients"),
                    "raw": .string("raw api: reload"),
                    "clusters": .string("origin cluster api"),
                    "recordings": .string("recordings of this node"),
                    "tests": .object([
                        "requests": .string("show the request info"), "errors": .string("always return an error 100"),
                        "redirects": .string("always redirect to /api/v1/tests/errors"),
                    ]),
                ])
            ])
    }

    static func versions(_ services: NodeAPIServices) -> NodeAPIResponse {
        let parts = services.identity.version.split(separator: ".").map { Int($0.prefix { $0.isNumber }) ?? 0 }
        func part(_ index: Int) -> JSONValue { .count(parts.indices.contains(index) ? parts[index] : 0) }
        return self.answer(
            services,
            [
                "data": .object([
                    "major": part(0), "minor": part(1), "revision": part(2),
                    "version": .string(services.identity.version),
                ])
            ])
    }

    static func authors(_ services: NodeAPIServices) -> NodeAPIResponse {
        self.answer(
            services,
            [
                "data": .object([
                    "license": .string("as the distribution says"), "contributors": .string("the authors of Weir"),
                ])
            ])
    }

    /// What this node can do, by the names of SRS's build options.
    static func features(_ services: NodeAPIServices) -> NodeAPIResponse {
        let isOrigin = services.identity.role == "origin"
        let features: [(String, Bool)] = [
            ("ssl", true), ("hls", true), ("hds", false), ("callback", services.hooks != nil), ("api", true),
            ("httpd", true), ("dvr", isOrigin), ("transcode", false), ("ingest", false), ("stat", true),
            ("caster", false), ("complex_send", true), ("tcp_nodelay", true), ("so_sendbuf", true), ("mr", false),
        ]
        return self.answer(
            services,
            [
                "data": .object([
                    "options": .string("--role=\(services.identity.role)"), "options2": .string(""),
                    "build": .string(services.identity.version), "build2": .string(services.facts.system.last ?? ""),
                    "features": .object(features.map { JSONValue.Member(name: $0.0, value: .bool($0.1)) }),
                ])
            ])
    }

    /// What came, for those who debug their own requests.
    static func requests(_ services: NodeAPIServices, _ request: NodeAPIRequest) -> NodeAPIResponse {
        let path = request.target.split(separator: "?").first.map { String($0) } ?? "/"
        return self.answer(
            services,
            [
                "data": .object([
                    "uri": .string(SecretMask.query(request.target)), "path": .string(path),
                    "METHOD": .string(request.method),
                    "headers": .object([
                        "sigature": .string("Weir"), "version": .string(services.identity.version),
                        "link": .string(""), "time": .count(services.sampler.sample().unixMillis),
                    ]),
                ])
            ])
    }
}
