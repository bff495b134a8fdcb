import MediaObjects
import NIOCore
import NIOHTTP1

/// The answer to one request for an object: which status, which bytes, which fields.
///
/// A function of the request, the source's answer and the time; the handler only sends it.
struct ObjectResponse {
    enum Body {
        case none
        /// A part of the bytes; the cache is the object's, if they are all of its body.
        case bytes(ByteBuffer, ServingCache?)
        /// A range of a file, which has `total` bytes.
        case file(path: String, range: Range<Int64>, total: Int64)
        case stream(length: Int64?, next: @Sendable () async throws -> ByteBuffer?)
    }

    private enum Kind {
        case object(MediaObject, coding: Coding, count: Int64?, range: Range<Int64>?)
        case notModified(MediaObject, Coding)
        case unsatisfiable(count: Int64)
        case problem(Problem)
        case methods(isAllowed: Bool, takesMedia: Bool)
    }

    private enum Coding {
        case identity, gzip
    }

    private(set) var status: HTTPResponseStatus
    /// What follows the head, also for `HEAD`, to which the handler does not send it.
    private(set) var body: Body
    private let kind: Kind

    private init(_ status: HTTPResponseStatus, _ kind: Kind, _ body: Body) {
        self.status = status
        self.kind = kind
        self.body = body
    }

    // MARK: Deciding

    init(_ answer: MediaObjectAnswer, to fields: RequestFields) {
        switch answer {
        case .object(let object): self = Self.object(object, fields)
        case .notFound(let detail): self = .init(.notFound, detail)
        case .badRequest(let detail): self = .init(.badRequest, detail)
        case .forbidden(let detail): self = .init(.forbidden, detail)
        case .conflict(let detail): self = .init(.conflict, detail)
        case .unavailable(let detail): self = .init(.serviceUnavailable, detail)
        }
    }

    /// A problem, told in words.
    init(_ status: HTTPResponseStatus, _ detail: String) {
        let problem = Problem(status: status, detail: detail)
        self.init(status, .problem(problem), .bytes(problem.body, nil))
    }

    /// The answer to `OPTIONS`, or to a method that the target does not have. `takesMedia`: it can be published to.
    static func methods(isAllowed: Bool, takesMedia: Bool = false) -> ObjectResponse {
        ObjectResponse(
            isAllowed ? .noContent : .methodNotAllowed, .methods(isAllowed: isAllowed, takesMedia: takesMedia), .none)
    }

    private static func object(_ object: MediaObject, _ fields: RequestFields) -> ObjectResponse {
        // A range is of the bytes that players know, so it goes before the coding.
        let wantsRange = fields.range != nil && Self.holds(fields.ifRange, object)
        let gzip = fields.acceptsGzip && !wantsRange ? object.gzip : nil
        let coding = gzip == nil ? Coding.identity : .gzip
        if let condition = fields.ifNoneMatch, Self.matches(condition, Self.etag(of: object, coding)) {
            return ObjectResponse(.notModified, .notModified(object, coding), .none)
        }
        let count = gzip.map { Int64($0.readableBytes) } ?? Self.count(of: object)
        guard wantsRange, let count else {
            return ObjectResponse(
                .ok, .object(object, coding: coding, count: count, range: nil), Self.body(of: object, gzip: gzip))
        }
        switch ByteRange(fields.range, of: count) {
        case .whole:
            return ObjectResponse(
                .ok, .object(object, coding: coding, count: count, range: nil), Self.body(of: object, gzip: nil))
        case .unsatisfiable:
            return ObjectResponse(
                .rangeNotSatisfiable, .unsatisfiable(count: count), .none)
        case .part(let range):
            return ObjectResponse(
                .partialContent, .object(object, coding: coding, count: count, range: range),
                Self.body(of: object, range))
        }
    }

    /// The length of a body that ranges can be of.
    private static func count(of object: MediaObject) -> Int64? {
        switch object.body {
        case .bytes(let bytes): Int64(bytes.readableBytes)
        case .file(_, let count): count
        case .stream: nil
        }
    }

    private static func body(of object: MediaObject, gzip: ByteBuffer?) -> Body {
        if let gzip { return .bytes(gzip, nil) }
        return switch object.body {
        case .bytes(let bytes): .bytes(bytes, object.servingCache)
        case .file(let path, let count): .file(path: path, range: 0..<count, total: count)
        case .stream(let length, let next): .stream(length: length, next: next)
        }
    }

    private static func body(of object: MediaObject, _ range: Range<Int64>) -> Body {
        switch object.body {
        case .bytes(let bytes):
            let whole = range.count == bytes.readableBytes
            let part = bytes.getSlice(at: bytes.readerIndex + Int(range.lowerBound), length: range.count)
            return .bytes(part ?? ByteBuffer(), whole ? object.servingCache : nil)
        case .file(let path, let count): return .file(path: path, range: range, total: count)
        case .stream: return .none
        }
    }

    // MARK: Conditions

    private static func etag(of object: MediaObject, _ coding: Coding) -> String? {
        object.etag.map { coding == .gzip ? "\"\($0)-gz\"" : "\"\($0)\"" }
    }

    /// `If-None-Match`, which compares weakly. Spec: RFC 9110 §13.1.2.
    private static func matches(_ condition: String, _ etag: String?) -> Bool {
        guard let etag else { return false }
        return condition.split(separator: ",").contains { item in
            var item = item.drop { $0 == " " || $0 == "\t" }
            while item.last == " " || item.last == "\t" { item = item.dropLast() }
            if item.hasPrefix("W/") { item = item.dropFirst(2) }
            return item == etag || item == "*"
        }
    }

    /// `If-Range`: without it, or with the object's own tag. Objects have no date to compare. Spec: RFC 9110 §13.1.5.
    private static func holds(_ condition: String?, _ object: MediaObject) -> Bool {
        guard let condition else { return true }
        return condition == Self.etag(of: object, .identity)
    }

    // MARK: The head

    /// The length that the head tells; `nil` if the body's end is told otherwise, or if there can be none.
    var contentLength: Int64? {
        switch self.kind {
        case .object(_, _, let count, let range):
            if let range { return Int64(range.count) }
            if case .stream(let length, _) = self.body { return length }
            return count
        case .problem(let problem): return Int64(problem.body.readableBytes)
        case .unsatisfiable: return 0
        case .methods(let isAllowed, _): return isAllowed ? nil : 0
        case .notModified: return nil
        }
    }

    /// Whether the body ends with the chunk that says so, or with the connection.
    var hasUnknownLength: Bool {
        if case .stream(length: nil, _) = self.body { true } else { false }
    }

    /// Writes all fields but those of the connection. `now` is for `Age`.
    func writeFields(into head: inout some ResponseHead, now: NIODeadline) {
        if let length = self.contentLength { head.add("Content-Length", number: length) }
        switch self.kind {
        case .object(let object, let coding, let count, let range):
            head.add("Content-Type", object.contentType)
            if coding == .gzip { head.add("Content-Encoding", "gzip") }
            if let range, let count {
                head.add("Content-Range", "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(count)")
            }
            if count != nil { head.add("Accept-Ranges", "bytes") }
            if let name = object.attachmentName {
                head.add("Content-Disposition", "attachment; filename=\"\(Self.plain(name))\"")
            }
            Self.writeValidators(of: object, coding, into: &head, now: now)
        case .notModified(let object, let coding):
            Self.writeValidators(of: object, coding, into: &head, now: now)
        case .unsatisfiable(let count):
            head.add("Content-Range", "bytes */\(count)")
        case .problem(let problem):
            head.add("Content-Type", Problem.contentType)
            // What is not there now may be in a moment; until then, one question a second is enough.
            head.add("Cache-Control", problem.status == .notFound ? "public, max-age=1" : "no-store")
            switch problem.status {
            case .serviceUnavailable, .tooManyRequests: head.add("Retry-After", "1")
            // A 401 has to say how (RFC 9110 §15.5.2).
            case .unauthorized: head.add("WWW-Authenticate", "Bearer realm=\"weir\"")
            default: break
            }
        case .methods(let isAllowed, let takesMedia):
            let methods = takesMedia ? "GET, HEAD, OPTIONS, POST, PUT" : "GET, HEAD, OPTIONS"
            head.add("Allow", methods)
            guard isAllowed else { return }
            head.add("Access-Control-Allow-Methods", methods)
            head.add(
                "Access-Control-Allow-Headers",
                takesMedia ? "Authorization, Content-Type" : "Authorization, If-None-Match, Range")
            head.add("Access-Control-Max-Age", "600")
        }
    }

    private static func writeValidators(
        of object: MediaObject, _ coding: Coding, into head: inout some ResponseHead, now: NIODeadline
    ) {
        if let etag = Self.etag(of: object, coding) { head.add("ETag", etag) }
        head.add("Cache-Control", object.lifetime.cacheControl)
        if object.gzip != nil { head.add("Vary", "Accept-Encoding") }
        if let storedAt = object.storedAt {
            head.add("Age", number: max(0, (now - storedAt).nanoseconds / 1_000_000_000))
        }
    }

    /// What may stand between quotes in a header field.
    private static func plain(_ name: String) -> String {
        String(
            name.unicodeScalars.map { scalar in
                scalar.isASCII && scalar.value >= 0x20 && scalar.value != 0x7F && scalar != "\"" && scalar != "\\"
                    ? Character(scalar) : "_"
            })
    }
}
