/// `EXT-X-DATERANGE`: something that happens in a span of the wall clock. Spec: RFC 8216bis §4.4.5.1.
///
/// Text that a quoted string cannot hold is replaced when it is written: a quotation mark becomes an apostrophe, a
/// control character a space.
package struct DateRange: Sendable, Hashable {
    /// The value of an attribute of one's own.
    package enum Value: Sendable, Hashable {
        case text(String)
        /// An even number of hexadecimal digits on the wire.
        case bytes([UInt8])
        /// A decimal number: `unscaled` divided by 10 to the power of `decimals`, which is 0 to 9.
        case number(unscaled: Int64, decimals: Int)
    }

    /// One of `X-…`, whose name is upper-case letters, digits and hyphens. Others are not written.
    package struct Attribute: Sendable, Hashable {
        package var name: String
        package var value: Value

        package init(name: String, value: Value) {
            self.name = name
            self.value = value
        }

        /// Whether a playlist may have it: `X-` and at least one character more, all of `A`–`Z`, `0`–`9`, `-`.
        package var isValid: Bool {
            let bytes = self.name.utf8
            return bytes.count > 2 && self.name.hasPrefix("X-")
                && bytes.allSatisfy { byte in
                    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) || byte == UInt8(ascii: "-")
                        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                }
        }
    }

    /// Names the range in its playlist: equal identifiers are one range, whose attributes must not contradict.
    package var id: String
    package var classIdentifier: String?
    /// Milliseconds since 1970 UTC.
    package var startMillis: Int64
    package var endMillis: Int64?
    package var duration: PlaylistDuration?
    package var plannedDuration: PlaylistDuration?
    /// The range ends where the next one of its class begins. Needs `classIdentifier`; without duration and end.
    package var endsOnNext: Bool
    /// SCTE-35 sections: `splice_info_section` as on the wire.
    package var scte35Command: [UInt8]?
    package var scte35Out: [UInt8]?
    package var scte35In: [UInt8]?
    package var attributes: [Attribute]

    package init(
        id: String, classIdentifier: String? = nil, startMillis: Int64, endMillis: Int64? = nil,
        duration: PlaylistDuration? = nil, plannedDuration: PlaylistDuration? = nil, endsOnNext: Bool = false,
        scte35Command: [UInt8]? = nil, scte35Out: [UInt8]? = nil, scte35In: [UInt8]? = nil,
        attributes: [Attribute] = []
    ) {
        self.id = id
        self.classIdentifier = classIdentifier
        self.startMillis = startMillis
        self.endMillis = endMillis
        self.duration = duration
        self.plannedDuration = plannedDuration
        self.endsOnNext = endsOnNext
        self.scte35Command = scte35Command
        self.scte35Out = scte35Out
        self.scte35In = scte35In
        self.attributes = attributes
    }
}
