import APIServer
import Exposition
import HTTPTypes
import Hooks
import Hummingbird
import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import NodeAPI

@Suite("The API behind its server")
struct ServerTests {
    @Test(
        "Probes need nothing, reading a viewer, all else an operator",
        arguments: [
            (.get, "/healthz", .open), (.get, "/readyz", .open), (.get, "/api/v1/health", .open),
            (.get, "/", .role(.viewer)), (.get, "/metrics", .role(.viewer)), (.head, "/api/v1/streams", .role(.viewer)),
            (.delete, "/api/v1/clients/x", .role(.operator)), (.post, "/api/v2/drain", .role(.operator)),
            (.get, "/api/v1/raw", .role(.operator)), (.get, "/api/v1/raw/", .role(.operator)),
            (.get, "//api//v1/%72aw", .role(.operator)), (.post, "/api/v1/clusters", .role(.viewer)),
            (.post, "/api/v2/clusters", .role(.operator)), (.get, "/healthz/", .role(.viewer)),
            (.get, "/%", .role(.viewer)),
        ] as [(HTTPRequest.Method, String, APIRequirement)])
    func requirements(method: HTTPRequest.Method, path: String, requirement: APIRequirement) {
        #expect(NodeAPI.requirement(method, path) == requirement)
    }

    @Test("The router hands every path to the API, and tells methods that nobody takes")
    func router() async throws {
        try await withNode { _, api async throws in
            let responder = api.router().buildResponder()
            func status(_ method: HTTPRequest.Method, _ path: String) async throws -> Int {
                let head = HTTPRequest(method: method, scheme: "http", authority: "node", path: path)
                let context = APIContext(
                    source: ApplicationRequestContextSource(channel: EmbeddedChannel(), logger: Logger(label: "test")))
                return try await responder.respond(
                    to: Request(head: head, body: .init(buffer: ByteBuffer())), context: context
                ).status.code
            }
            for path in ["/", "/api", "/api/v1/", "/api/v1/streams/", "/api/v2/streams", "/metrics", "/healthz"] {
                #expect(try await status(.get, path) == 200, "\(path)")
                #expect(try await status(.head, path) == 200, "\(path)")
            }
            #expect(try await status(.get, "/api/v1/nope") == 404)
            #expect(try await status(.delete, "/api/v2/sessions/nope") == 404)
            #expect(try await status(.post, "/api/v2/drain") == 200)
            #expect(try await status(.put, "/api/v2/drain") == 405)
            #expect(try await status(.patch, "/api/v2/drain") == 405)
        }
    }

    @Test("What hooks count is told for every event")
    func hooks() throws {
        var statistics = HooksStatistics()
        var play = HookEventStatistics()
        (play.delivered, play.refused, play.failed, play.dropped, play.retried) = (5, 4, 3, 2, 1)
        play.latency[0] = 6
        play.latency[HookEventStatistics.bucketMillis.count] = 2
        play.latencySum = .milliseconds(1_500)
        statistics.events[.onPlay] = play
        (statistics.queued, statistics.deciding, statistics.unreachable) = (7, 8, 9)
        let hooks = NodeHooks(statistics)
        #expect(hooks.events.count == HookEvent.allCases.count)
        let event = try #require(hooks.events.first { $0.name == "on_play" })
        #expect([event.allowed, event.denied, event.failed, event.dropped, event.retried] == [5, 4, 3, 2, 1])
        #expect(event.latency.bounds.first == 0.005)
        #expect(event.latency.count == 8)
        #expect(event.latency.sum == 1.5)
        #expect([hooks.queued, hooks.deciding, hooks.unreachable] == [7, 8, 9])
    }
}
