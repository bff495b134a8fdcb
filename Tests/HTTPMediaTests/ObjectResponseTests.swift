import MediaObjects
import NIOCore
import NIOHTTP1
import Testing

@testable import HTTPMedia

@Suite("ObjectResponse")
struct ObjectResponseTests {
    private static let now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private static func object(
        _ text: String = "0123456789", etag: String? = "e1", lifetime: MediaObject.Lifetime = .immutable,
        gzip: String? = nil, storedAt: NIODeadline? = nil, attachment: String? = nil
    ) -> MediaObject {
        MediaObject(
            body: .bytes(ByteBuffer(string: text)), gzip: gzip.map { ByteBuffer(string: $0) },
            contentType: "video/mp4", etag: etag, lifetime: lifetime, storedAt: storedAt, attachmentName: attachment)
    }

    private struct Answer: Equatable {
        var status: UInt
        var body: String
        var fields: [String: String]

        subscript(name: String) -> String? { self.fields[name] }
    }

    private static func answer(_ answer: MediaObjectAnswer, _ fields: [String: String] = [:]) -> Answer {
        let head = HTTPRequestHead(
            version: .http1_1, method: .GET, uri: "/", headers: HTTPHeaders(fields.map { ($0.key, $0.value) }))
        return self.answer(ObjectResponse(answer, to: RequestFields(head)))
    }

    private static func answer(_ response: ObjectResponse) -> Answer {
        var head = ResponseHeadFields(response.status)
        response.writeFields(into: &head, now: self.now)
        var body = ""
        if case .bytes(let bytes, _) = response.body { body = String(buffer: bytes) }
        let names = head.head.headers.map(\.name)
        #expect(Set(names).count == names.count, "a field is there twice: \(names)")
        return Answer(
            status: response.status.code, body: body,
            fields: Dictionary(head.head.headers.map { ($0.name, $0.value) }) { first, _ in first })
    }

    // MARK: Whole objects

    @Test("an object comes with its length, type, tag and lifetime")
    func whole() {
        let answer = Self.answer(.object(Self.object()))
        #expect(answer.status == 200)
        #expect(answer.body == "0123456789")
        #expect(
            answer.fields == [
                "Content-Length": "10", "Content-Type": "video/mp4", "ETag": "\"e1\"", "Accept-Ranges": "bytes",
                "Cache-Control": "public, max-age=31536000, immutable",
            ])
    }

    @Test("an object from a cache tells its age, in whole seconds, never below zero")
    func age() {
        #expect(Self.answer(.object(Self.object(storedAt: Self.now - .milliseconds(2_900))))["Age"] == "2")
        #expect(Self.answer(.object(Self.object(storedAt: Self.now)))["Age"] == "0")
        #expect(Self.answer(.object(Self.object(storedAt: Self.now + .seconds(5))))["Age"] == "0")
        #expect(Self.answer(.object(Self.object()))["Age"] == nil)
    }

    @Test("an attachment has its name, with nothing that could end it")
    func attachment() {
        let answer = Self.answer(.object(Self.object(attachment: "a \"b\"\r\nX: y\\é.mp4")))
        #expect(answer["Content-Disposition"] == "attachment; filename=\"a _b___X: y__.mp4\"")
    }

    @Test("without a tag there is none, and nothing matches")
    func noTag() {
        let answer = Self.answer(.object(Self.object(etag: nil)), ["If-None-Match": "*", "If-Range": "\"\""])
        #expect(answer.status == 200)
        #expect(answer["ETag"] == nil)
    }

    // MARK: Conditions

    @Test(
        "the tag that a client has saves the body",
        arguments: ["\"e1\"", "W/\"e1\"", "\"x\", \"e1\"", "\"x\",W/\"e1\" ", "*", " \"e1\""])
    func notModified(condition: String) {
        let answer = Self.answer(.object(Self.object(gzip: "gz")), ["If-None-Match": condition])
        #expect(answer.status == 304)
        #expect(answer.body == "")
        #expect(
            answer.fields == [
                "ETag": "\"e1\"", "Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding",
            ])
    }

    @Test("another tag does not", arguments: ["\"e2\"", "e1", "\"e1-gz\"", "", "\"e1", "W/\"e2\""])
    func modified(condition: String) {
        #expect(Self.answer(.object(Self.object()), ["If-None-Match": condition]).status == 200)
    }

    // MARK: Coding

    @Test("the gzip form goes to those who take it, under a tag of its own")
    func gzip() {
        let object = Self.object(gzip: "gz")
        let coded = Self.answer(.object(object), ["Accept-Encoding": "gzip"])
        #expect(coded.body == "gz")
        #expect(coded["Content-Encoding"] == "gzip")
        #expect(coded["Content-Length"] == "2")
        #expect(coded["ETag"] == "\"e1-gz\"")
        #expect(coded["Vary"] == "Accept-Encoding")
        let plain = Self.answer(.object(object))
        #expect(plain.body == "0123456789")
        #expect(plain["Content-Encoding"] == nil)
        #expect(plain["ETag"] == "\"e1\"")
        #expect(plain["Vary"] == "Accept-Encoding")
        let match = ["Accept-Encoding": "gzip", "If-None-Match": "\"e1-gz\""]
        #expect(Self.answer(.object(object), match).status == 304)
        #expect(Self.answer(.object(object), match)["ETag"] == "\"e1-gz\"")
        #expect(Self.answer(.object(Self.object()), ["Accept-Encoding": "gzip"])["Vary"] == nil)
    }

    @Test("a range is of the plain bytes, whatever codings are taken")
    func rangeBeforeCoding() {
        let answer = Self.answer(
            .object(Self.object(gzip: "gz")), ["Accept-Encoding": "gzip", "Range": "bytes=2-4"])
        #expect(answer.status == 206)
        #expect(answer.body == "234")
        #expect(answer["Content-Encoding"] == nil)
        #expect(answer["ETag"] == "\"e1\"")
    }

    // MARK: Ranges

    @Test("a range comes with where it is from")
    func range() {
        let answer = Self.answer(.object(Self.object()), ["Range": "bytes=-3"])
        #expect(answer.status == 206)
        #expect(answer.body == "789")
        #expect(answer["Content-Range"] == "bytes 7-9/10")
        #expect(answer["Content-Length"] == "3")
        #expect(answer["Cache-Control"] == "public, max-age=31536000, immutable")
    }

    @Test("a range that the object does not have is told its length")
    func unsatisfiable() {
        let answer = Self.answer(.object(Self.object()), ["Range": "bytes=10-"])
        #expect(answer.status == 416)
        #expect(answer.fields == ["Content-Range": "bytes */10", "Content-Length": "0"])
    }

    @Test("several ranges are answered with the whole")
    func severalRanges() {
        let answer = Self.answer(.object(Self.object()), ["Range": "bytes=0-1,3-4"])
        #expect(answer.status == 200)
        #expect(answer.body == "0123456789")
    }

    @Test(
        "a range for another version is answered with the whole",
        arguments: [
            ("\"e1\"", 206), ("\"e2\"", 200), ("W/\"e1\"", 200), ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
            ("\"e1-gz\"", 200),
        ] as [(String, UInt)])
    func ifRange(condition: String, status: UInt) {
        let answer = Self.answer(.object(Self.object()), ["Range": "bytes=0-0", "If-Range": condition])
        #expect(answer.status == status)
        #expect(answer.body == (status == 206 ? "0" : "0123456789"))
    }

    @Test("a slice that does not begin its buffer is cut where it is")
    func sliced() {
        var bytes = ByteBuffer(string: "junk0123456789")
        bytes.moveReaderIndex(forwardBy: 4)
        let object = MediaObject(body: .bytes(bytes), contentType: "x", etag: nil, lifetime: .immutable)
        #expect(Self.answer(.object(object), ["Range": "bytes=1-2"]).body == "12")
    }

    @Test("a range of a file is a range of the file")
    func file() {
        let object = MediaObject(
            body: .file(path: "/x", count: 1_000), contentType: "video/mp4", etag: "f", lifetime: .immutable)
        let head = HTTPRequestHead(
            version: .http1_1, method: .GET, uri: "/", headers: ["Range": "bytes=100-", "Accept-Encoding": "gzip"])
        let response = ObjectResponse(.object(object), to: RequestFields(head))
        guard case .file("/x", 100..<1_000, 1_000) = response.body else {
            Issue.record("another body: \(response.body)")
            return
        }
        #expect(Self.answer(response)["Content-Length"] == "900")
    }

    @Test("a stream has no ranges, and a length only if it is known")
    func stream() {
        for length in [nil, Int64(7)] {
            let object = MediaObject(
                body: .stream(length: length) { nil }, contentType: "video/mp4", etag: nil, lifetime: .uncacheable)
            let answer = Self.answer(.object(object), ["Range": "bytes=0-1"])
            #expect(answer.status == 200)
            #expect(answer["Content-Length"] == length.map { "\($0)" })
            #expect(answer["Accept-Ranges"] == nil)
            #expect(answer["Cache-Control"] == "no-store")
        }
    }

    // MARK: No object

    @Test("what is not there is a problem that caches keep for a second")
    func notFound() {
        let answer = Self.answer(.notFound("no \"such\" stream\n"))
        #expect(answer.status == 404)
        #expect(answer["Cache-Control"] == "public, max-age=1")
        #expect(answer["Content-Type"] == "application/problem+json")
        #expect(
            answer.body
                == "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,"
                + "\"detail\":\"no \\\"such\\\" stream\\u000a\"}\n")
        #expect(answer["Content-Length"] == "\(answer.body.utf8.count)")
    }

    @Test("other refusals are not kept, and an overload says when to come back")
    func refusals() {
        let refusals: [(MediaObjectAnswer, UInt)] = [
            (.badRequest("x"), 400), (.forbidden("x"), 403), (.conflict("x"), 409), (.unavailable("x"), 503),
        ]
        for (refusal, status) in refusals {
            let answer = Self.answer(refusal)
            #expect(answer.status == status)
            #expect(answer["Cache-Control"] == "no-store")
            #expect(answer["Retry-After"] == (status == 503 ? "1" : nil))
        }
    }

    @Test("pages may ask what they may ask")
    func methods() {
        let allowed = Self.answer(.methods(isAllowed: true))
        #expect(allowed.status == 204)
        #expect(allowed["Content-Length"] == nil)
        #expect(allowed["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS")
        #expect(allowed["Access-Control-Allow-Headers"] == "Authorization, If-None-Match, Range")
        let refused = Self.answer(.methods(isAllowed: false))
        #expect(refused.status == 405)
        #expect(refused["Allow"] == "GET, HEAD, OPTIONS")
        #expect(refused["Content-Length"] == "0")
    }

    @Test("a head of bytes says the same as one of fields")
    func bytes() {
        let response = ObjectResponse(
            .object(Self.object()),
            to: RequestFields(
                HTTPRequestHead(version: .http1_1, method: .GET, uri: "/", headers: ["Range": "bytes=0-4"])))
        var head = ResponseHeadBytes(response.status, capacity: 16, allocator: ByteBufferAllocator())
        response.writeFields(into: &head, now: Self.now)
        head.add("X", number: 9_223_372_036_854_775_807)
        head.add("Y", number: 0)
        #expect(
            String(buffer: head.finish())
                == "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Type: video/mp4\r\n"
                + "Content-Range: bytes 0-4/10\r\nAccept-Ranges: bytes\r\nETag: \"e1\"\r\n"
                + "Cache-Control: public, max-age=31536000, immutable\r\nX: 9223372036854775807\r\nY: 0\r\n\r\n")
        let other = ResponseHeadBytes(.notFound, capacity: 16, allocator: ByteBufferAllocator())
        #expect(String(buffer: other.buffer) == "HTTP/1.1 404 Not Found\r\n")
    }
}
