import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import NodeAPI

@Suite("Requests and answers")
struct MessageTests {
    @Test("A target is cut into its parts and parameters")
    func target() throws {
        let request = try #require(
            NodeAPIRequest(method: "GET", target: "/a%2Fb//c/?x=1&y=a%20b&x=2&flag&=v&plus=a+b"))
        #expect(request.path == ["a/b", "c"])
        #expect(request.query == ["x": "1", "y": "a b", "flag": "", "": "v", "plus": "a+b"])
    }

    @Test(
        "Targets that cannot be read are refused",
        arguments: [
            "", "x", "*", "http://host/", "/%", "/%4", "/%zz", "/%ff", "/?x=%", "/?%c3=1",
            "/" + String(repeating: "a", count: NodeAPIRequest.maximumTargetBytes),
            "/?" + String(repeating: "a&", count: 65),
        ])
    func badTarget(target: String) { #expect(NodeAPIRequest(method: "GET", target: target) == nil) }

    @Test("A target may be cut anywhere and is read or refused")
    func cut() {
        let target = "/api/v2/streams/live/a%20b?key=%C3%A4&limit=%31"
        for end in 0...target.count { _ = NodeAPIRequest(method: "GET", target: String(target.prefix(end))) }
        #expect(NodeAPIRequest(method: "GET", target: target)?.query["key"] == "ä")
    }

    @Test("JSON is written in order, escaped, and never with numbers that JSON does not have")
    func json() {
        let value = JSONValue.object([
            "z": .integer(.max), "a": .number(.nan), "b": .number(-.infinity), "c": .number(0.1), "n": nil,
            "d": .number(2), "e": .string("\"\\\n\r\t\u{1}\u{7f}é</\u{2028}"),
            "f": .array([.null, .bool(true), .raw("{}")]),
            "k\"": .object([:]), "l": .count(UInt64.max), "m": .number(1e300),
        ])
        #expect(
            value.text
                == #"{"z":9223372036854775807,"a":0,"b":0,"c":0.1,"d":2,"e":"\"\\\n\r\t\u0001\u007fé\u003c/\u2028","#
                + #""f":[null,true,{}],"k\"":{},"l":9223372036854775807,"m":1e+300}"#)
    }

    @Test("A problem is what RFC 9457 says")
    func problem() throws {
        let answer = NodeAPIResponse.problem("busy", 503, "Busy", detail: "a \"b\"", headers: [("Retry-After", "1")])
        #expect(answer.status == 503)
        #expect(answer.contentType == "application/problem+json")
        #expect(
            String(buffer: answer.body)
                == #"{"type":"urn:weir:problem:busy","title":"Busy","status":503,"detail":"a \"b\""}"#)
        #expect(answer.headers.contains { $0.name == "Retry-After" && $0.value == "1" })
    }

    private func respond(
        _ api: NodeAPI, _ method: HTTPRequest.Method, _ path: String, body: String = "", headers: HTTPFields = [:]
    ) async throws -> Response {
        let head = HTTPRequest(method: method, scheme: "http", authority: "node", path: path, headerFields: headers)
        let context = BasicRequestContext(
            source: ApplicationRequestContextSource(channel: EmbeddedChannel(), logger: Logger(label: "test")))
        return try await NodeAPIResponder(api, context: BasicRequestContext.self).respond(
            to: Request(head: head, body: .init(buffer: ByteBuffer(string: body))), context: context)
    }

    @Test("The port's responder hands headers in and out, and bounds bodies")
    func responder() async throws {
        try await withNode { _, api async throws in
            let list = try await self.respond(api, .get, "/api/v2/streams")
            #expect(list.status == .ok)
            #expect(list.headers[.contentType] == "application/json")
            let tag = try #require(list.headers[.eTag])
            let again = try await self.respond(api, .get, "/api/v2/streams", headers: [.ifNoneMatch: tag])
            #expect(again.status == .notModified)
            #expect(again.body.contentLength == 0)
            let refused = try await self.respond(
                api, .post, "/api/v2/drain", body: String(repeating: "x", count: NodeAPIRequest.maximumBodyBytes + 1))
            #expect(refused.status.code == 413)
            #expect(try await self.respond(api, .get, "/%").status == .badRequest)
            let denied = try await self.respond(api, .delete, "/api/v2/streams")
            #expect(denied.status == .methodNotAllowed)
            #expect(denied.headers[.allow] == "GET")
            #expect(try await self.respond(api, .delete, "/api/v2/drain").status == .ok)
        }
    }
}
