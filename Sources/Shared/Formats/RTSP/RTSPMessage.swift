package import NIOCore

/// The methods of RTSP that have a name here; others are kept as they came. Spec: RFC 2326 §10.
package struct RTSPMethod: RawRepresentable, Sendable, Hashable {
    package let rawValue: String

    package init(rawValue: String) { self.rawValue = rawValue }

    package static let options = RTSPMethod(rawValue: "OPTIONS")
    package static let describe = RTSPMethod(rawValue: "DESCRIBE")
    package static let announce = RTSPMethod(rawValue: "ANNOUNCE")
    package static let setup = RTSPMethod(rawValue: "SETUP")
    package static let play = RTSPMethod(rawValue: "PLAY")
    package static let pause = RTSPMethod(rawValue: "PAUSE")
    package static let record = RTSPMethod(rawValue: "RECORD")
    package static let teardown = RTSPMethod(rawValue: "TEARDOWN")
    package static let getParameter = RTSPMethod(rawValue: "GET_PARAMETER")
    package static let setParameter = RTSPMethod(rawValue: "SET_PARAMETER")
    package static let redirect = RTSPMethod(rawValue: "REDIRECT")
}

/// A status of RTSP. Spec: RFC 2326 §7.1.1, RFC 7826 §17.
package struct RTSPStatus: RawRepresentable, Sendable, Hashable {
    package let rawValue: Int

    package init(rawValue: Int) { self.rawValue = rawValue }

    package static let ok = RTSPStatus(rawValue: 200)
    package static let movedPermanently = RTSPStatus(rawValue: 301)
    package static let found = RTSPStatus(rawValue: 302)
    package static let badRequest = RTSPStatus(rawValue: 400)
    package static let unauthorized = RTSPStatus(rawValue: 401)
    package static let forbidden = RTSPStatus(rawValue: 403)
    package static let notFound = RTSPStatus(rawValue: 404)
    package static let methodNotAllowed = RTSPStatus(rawValue: 405)
    package static let notAcceptable = RTSPStatus(rawValue: 406)
    package static let entityTooLarge = RTSPStatus(rawValue: 413)
    package static let unsupportedMediaType = RTSPStatus(rawValue: 415)
    package static let parameterNotUnderstood = RTSPStatus(rawValue: 451)
    package static let notEnoughBandwidth = RTSPStatus(rawValue: 453)
    package static let sessionNotFound = RTSPStatus(rawValue: 454)
    package static let methodNotValidInState = RTSPStatus(rawValue: 455)
    package static let invalidRange = RTSPStatus(rawValue: 457)
    package static let aggregateNotAllowed = RTSPStatus(rawValue: 459)
    package static let unsupportedTransport = RTSPStatus(rawValue: 461)
    package static let internalError = RTSPStatus(rawValue: 500)
    package static let notImplemented = RTSPStatus(rawValue: 501)
    package static let unavailable = RTSPStatus(rawValue: 503)
    package static let versionNotSupported = RTSPStatus(rawValue: 505)
    package static let optionNotSupported = RTSPStatus(rawValue: 551)

    package var isSuccess: Bool { (200...299).contains(self.rawValue) }
    package var isRedirect: Bool { (300...399).contains(self.rawValue) }

    /// The phrase of the standards; empty for a status that has no name here.
    package var phrase: String {
        switch self {
        case .ok: "OK"
        case .movedPermanently: "Moved Permanently"
        case .found: "Found"
        case .badRequest: "Bad Request"
        case .unauthorized: "Unauthorized"
        case .forbidden: "Forbidden"
        case .notFound: "Not Found"
        case .methodNotAllowed: "Method Not Allowed"
        case .notAcceptable: "Not Acceptable"
        case .entityTooLarge: "Request Entity Too Large"
        case .unsupportedMediaType: "Unsupported Media Type"
        case .parameterNotUnderstood: "Parameter Not Understood"
        case .notEnoughBandwidth: "Not Enough Bandwidth"
        case .sessionNotFound: "Session Not Found"
        case .methodNotValidInState: "Method Not Valid in This State"
        case .invalidRange: "Invalid Range"
        case .aggregateNotAllowed: "Aggregate Operation Not Allowed"
        case .unsupportedTransport: "Unsupported Transport"
        case .internalError: "Internal Server Error"
        case .notImplemented: "Not Implemented"
        case .unavailable: "Service Unavailable"
        case .versionNotSupported: "RTSP Version Not Supported"
        case .optionNotSupported: "Option Not Supported"
        default: ""
        }
    }
}

/// The headers of a message in their order. Names are compared without case.
package struct RTSPHeaders: Sendable, Hashable {
    package struct Field: Sendable, Hashable {
        package var name: String
        package var value: String

        package init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    package private(set) var fields: [Field]

    package init(_ fields: [(String, String)] = []) {
        self.fields = fields.map { Field(name: $0.0, value: $0.1) }
    }

    /// The value of the first header of this name.
    package subscript(name: String) -> String? {
        let name = name.lowercased()
        return self.fields.first { $0.name.lowercased() == name }?.value
    }

    /// The values of all headers of this name, in their order.
    package func all(_ name: String) -> [String] {
        let name = name.lowercased()
        return self.fields.compactMap { $0.name.lowercased() == name ? $0.value : nil }
    }

    package mutating func add(_ name: String, _ value: String) {
        self.fields.append(Field(name: name, value: value))
    }

    /// Replaces all headers of this name by one.
    package mutating func set(_ name: String, _ value: String) {
        let lower = name.lowercased()
        self.fields.removeAll { $0.name.lowercased() == lower }
        self.add(name, value)
    }

    fileprivate func write(into buffer: inout ByteBuffer) {
        for field in self.fields {
            // A value of ours may hold what a peer wrote: no line can be ended from inside of it.
            let value = field.value.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7F }
            buffer.writeString("\(field.name): \(String(String.UnicodeScalarView(value)))\r\n")
        }
    }
}

/// A request. Servers send some, too. Spec: RFC 2326 §6.
package struct RTSPRequest: Sendable, Hashable {
    package var method: RTSPMethod
    /// As it came: absolute, or `*`.
    package var uri: String
    /// The minor and major number, as `1.0`.
    package var version: String
    package var headers: RTSPHeaders
    package var body: ByteBuffer

    package init(
        _ method: RTSPMethod, _ uri: String, version: String = "1.0", headers: RTSPHeaders = RTSPHeaders(),
        body: ByteBuffer = ByteBuffer()
    ) {
        self.method = method
        self.uri = uri
        self.version = version
        self.headers = headers
        self.body = body
    }

    /// The number by which the response names its request; `nil` if it is missing or no number.
    package var sequence: UInt32? { self.headers.sequence }

    /// Appends the message. `Content-Length` is added for a body.
    package func write(into buffer: inout ByteBuffer) {
        buffer.writeString("\(self.method.rawValue) \(self.uri) RTSP/\(self.version)\r\n")
        self.headers.write(into: &buffer, body: self.body)
    }
}

/// A response. Spec: RFC 2326 §7.
package struct RTSPResponse: Sendable, Hashable {
    package var status: RTSPStatus
    package var phrase: String
    package var version: String
    package var headers: RTSPHeaders
    package var body: ByteBuffer

    package init(
        _ status: RTSPStatus, version: String = "1.0", headers: RTSPHeaders = RTSPHeaders(),
        body: ByteBuffer = ByteBuffer()
    ) {
        self.status = status
        self.phrase = status.phrase
        self.version = version
        self.headers = headers
        self.body = body
    }

    package var sequence: UInt32? { self.headers.sequence }

    /// Appends the message. `Content-Length` is added for a body.
    package func write(into buffer: inout ByteBuffer) {
        buffer.writeString("RTSP/\(self.version) \(self.status.rawValue) \(self.phrase)\r\n")
        self.headers.write(into: &buffer, body: self.body)
    }
}

extension RTSPHeaders {
    fileprivate var sequence: UInt32? { self["CSeq"].flatMap { UInt32($0) } }

    fileprivate func write(into buffer: inout ByteBuffer, body: ByteBuffer) {
        self.write(into: &buffer)
        if body.readableBytes > 0, self["Content-Length"] == nil {
            buffer.writeString("Content-Length: \(body.readableBytes)\r\n")
        }
        buffer.writeString("\r\n")
        buffer.writeImmutableBuffer(body)
    }
}

/// One thing on a connection of RTSP.
package enum RTSPElement: Sendable, Hashable {
    case request(RTSPRequest)
    case response(RTSPResponse)
    /// A packet of RTP or RTCP between the messages. Spec: RFC 2326 §10.12.
    case packet(channel: UInt8, ByteBuffer)
}
