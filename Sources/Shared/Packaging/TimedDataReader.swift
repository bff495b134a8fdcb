import AMF
import MPEGTS
import Media
import NIOCore

/// Makes date ranges and ID3 tags of the data messages that publishers send: `onCuePoint`, `onTextData` and the like.
///
/// The members of the message's objects become attributes, those of objects inside under joined names. Bounded: what is
/// beyond the bounds is left out.
enum TimedDataReader {
    struct Message: Sendable {
        var name: String
        var attributes: [TimedDataFacts.Attribute]
        /// One `TXXX` frame for each member, named as it came.
        var id3: ByteBuffer
    }

    static let maximumAttributes = 24
    static let maximumTextLength = 512
    static let maximumNameLength = 64
    private static let limits = AMFLimits(maximumDepth: 6, maximumValues: 256, maximumStringLength: 16_384)

    /// `nil` when the message is no AMF, or says nothing.
    static func read(_ data: TimedData) -> Message? {
        guard !data.name.isEmpty, data.payload.readableBytes <= 65_536 else { return nil }
        var decoder = AMF0Decoder(data.payload, limits: self.limits)
        guard let values = try? decoder.rest() else { return nil }
        var members: [(path: [String], value: AMFValue)] = []
        for value in values { self.flatten(value, path: [], into: &members) }
        let name = self.bounded(data.name, to: self.maximumNameLength)
        var attributes: [TimedDataFacts.Attribute] = []
        var texts: [(name: String, value: String)] = []
        for member in members.prefix(self.maximumAttributes) {
            guard let value = self.attributeValue(member.value) else { continue }
            let path = member.path.isEmpty ? ["VALUE"] : member.path
            let attribute = self.attributeName(path)
            guard !attributes.contains(where: { $0.name == attribute }) else { continue }
            attributes.append(TimedDataFacts.Attribute(name: attribute, value: value))
            let label = self.bounded(([name] + member.path).joined(separator: "."), to: 2 * self.maximumNameLength)
            texts.append((name: label, value: value.text))
        }
        if texts.isEmpty { texts = [(name: name, value: "")] }
        return Message(name: name, attributes: attributes, id3: ID3Tag.text(texts))
    }

    private static func flatten(
        _ value: AMFValue, path: [String], into members: inout [(path: [String], value: AMFValue)]
    ) {
        guard members.count < self.maximumAttributes else { return }
        if let properties = value.properties {
            for property in properties { self.flatten(property.value, path: path + [property.name], into: &members) }
        } else if case .strictArray(let elements) = value {
            for (index, element) in elements.enumerated() {
                self.flatten(element, path: path + ["\(index)"], into: &members)
            }
        } else {
            members.append((path, value))
        }
    }

    private static func attributeValue(_ value: AMFValue) -> TimedDataFacts.Attribute.Value? {
        switch value {
        case .number(let number), .date(millis: let number, timeZoneMinutes: _):
            let milli = (number * 1000).rounded()
            guard milli.isFinite, abs(milli) < 9e15 else { return nil }
            return .number(milli: Int64(milli))
        case .boolean(let flag): return .text(flag ? "YES" : "NO")
        case .string(let text), .xml(let text): return .text(self.bounded(text, to: self.maximumTextLength))
        default: return nil
        }
    }

    /// `X-` and the path in upper case, whatever else replaced by hyphens. Spec: RFC 8216bis §4.4.5.1.
    private static func attributeName(_ path: [String]) -> String {
        var bytes = Array("X-".utf8)
        for byte in path.joined(separator: "-").utf8.prefix(self.maximumNameLength) {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"): bytes.append(byte - 32)
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): bytes.append(byte)
            default: bytes.append(UInt8(ascii: "-"))
            }
        }
        if bytes.count == 2 { bytes.append(UInt8(ascii: "-")) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// At most `length` bytes of UTF-8, cut between characters.
    private static func bounded(_ text: String, to length: Int) -> String {
        guard text.utf8.count > length else { return text }
        var result = ""
        var count = 0
        for character in text {
            count += character.utf8.count
            guard count <= length else { break }
            result.append(character)
        }
        return result
    }
}

extension TimedDataFacts.Attribute.Value {
    /// The value as text, numbers without needless zeros.
    var text: String {
        switch self {
        case .text(let text): return text
        case .number(let milli):
            let (whole, rest) = milli.magnitude.quotientAndRemainder(dividingBy: 1000)
            let sign = milli < 0 ? "-" : ""
            guard rest != 0 else { return "\(sign)\(whole)" }
            var digits = String(rest + 1000).dropFirst()
            while digits.last == "0" { digits.removeLast() }
            return "\(sign)\(whole).\(digits)"
        }
    }
}
