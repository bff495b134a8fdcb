/// Names one stream in the whole cluster: `vhost/app/name`.
///
/// Keys come from URLs that peers wrote, so the only public way to make one checks every part.
package struct StreamKey: Hashable, Sendable {
    /// The vhost that is used when a URL names none that is configured.
    package static let defaultVhost = "__defaultVhost__"
    /// The longest `app` or `name` that is accepted, in UTF-8 bytes.
    package static let maximumPartLength = 255

    package let vhost: String
    package let app: String
    package let name: String

    /// Checks each part: not empty, at most `maximumPartLength` bytes, no control characters, no white space, none of
    /// `?#%\"`, and no empty, `.` or `..` path component (file names and URLs are made of keys).
    package init(vhost: String = StreamKey.defaultVhost, app: String, name: String) throws(StreamKeyError) {
        try Self.check(vhost, part: .vhost, allowsSlash: false)
        try Self.check(app, part: .app, allowsSlash: true)
        try Self.check(name, part: .name, allowsSlash: true)
        self.vhost = vhost
        self.app = app
        self.name = name
    }

    private static func check(_ text: String, part: StreamKeyError.Part, allowsSlash: Bool) throws(StreamKeyError) {
        let length = text.utf8.count
        guard length > 0 else { throw .empty(part) }
        guard length <= self.maximumPartLength else { throw .tooLong(part, length: length) }
        var component: [UInt8] = []
        for (offset, byte) in text.utf8.enumerated() {
            switch byte {
            case 0...0x20, 0x7F, UInt8(ascii: "?"), UInt8(ascii: "#"), UInt8(ascii: "%"), UInt8(ascii: "\\"),
                UInt8(ascii: "\""):
                throw .forbiddenByte(part, byte: byte, offset: offset)
            case UInt8(ascii: "/"):
                guard allowsSlash else { throw .forbiddenByte(part, byte: byte, offset: offset) }
                guard !self.isReserved(component) else { throw .forbiddenComponent(part) }
                component.removeAll(keepingCapacity: true)
            default:
                component.append(byte)
            }
        }
        guard !self.isReserved(component) else { throw .forbiddenComponent(part) }
    }

    private static func isReserved(_ component: [UInt8]) -> Bool {
        component.isEmpty || component == [UInt8(ascii: ".")] || component == [UInt8(ascii: "."), UInt8(ascii: ".")]
    }
}

extension StreamKey: CustomStringConvertible {
    /// `app/name` in the default vhost, `vhost/app/name` elsewhere.
    package var description: String {
        self.vhost == Self.defaultVhost ? "\(self.app)/\(self.name)" : "\(self.vhost)/\(self.app)/\(self.name)"
    }
}

extension StreamKey: Codable {
    private enum CodingKeys: String, CodingKey { case vhost, app, name }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        try self.init(
            vhost: container.decodeIfPresent(String.self, forKey: .vhost) ?? Self.defaultVhost,
            app: container.decode(String.self, forKey: .app),
            name: container.decode(String.self, forKey: .name))
    }
}

/// Why a text cannot be part of a stream key.
package enum StreamKeyError: Error, Equatable {
    package enum Part: String, Sendable { case vhost, app, name }

    case empty(Part)
    case tooLong(Part, length: Int)
    case forbiddenByte(Part, byte: UInt8, offset: Int)
    case forbiddenComponent(Part)
}

extension StreamKeyError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .empty(let part): "the \(part.rawValue) is empty"
        case .tooLong(let part, let length): "the \(part.rawValue) has \(length) bytes, which is too long"
        case .forbiddenByte(let part, let byte, let offset):
            "the \(part.rawValue) has byte \(byte) at offset \(offset), which is not allowed"
        case .forbiddenComponent(let part): "the \(part.rawValue) has a component that is not allowed"
        }
    }
}
