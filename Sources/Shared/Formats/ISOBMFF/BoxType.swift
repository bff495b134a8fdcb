/// The four characters that name a box, a brand or a sample entry. Spec: ISO/IEC 14496-12 §4.2.
package struct BoxType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }
}

extension BoxType: ExpressibleByStringLiteral {
    /// A literal of exactly four ASCII characters.
    package init(stringLiteral value: String) {
        precondition(value.utf8.count == 4, "a box type has four characters, got \(value)")
        self.rawValue = value.utf8.reduce(0) { $0 << 8 | UInt32($1) }
    }
}

extension BoxType: CustomStringConvertible {
    /// The characters, or the number in hexadecimal if one of them is not printable.
    package var description: String {
        let bytes = (0..<4).map { UInt8(truncatingIfNeeded: self.rawValue >> (24 - 8 * $0)) }
        guard bytes.allSatisfy({ (0x20..<0x7F).contains($0) }) else { return "0x" + String(self.rawValue, radix: 16) }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The boxes that are read or written by more than one function.
extension BoxType {
    static let ftyp: BoxType = "ftyp"
    static let moov: BoxType = "moov"
    static let mvhd: BoxType = "mvhd"
    static let trak: BoxType = "trak"
    static let tkhd: BoxType = "tkhd"
    static let edts: BoxType = "edts"
    static let elst: BoxType = "elst"
    static let mdia: BoxType = "mdia"
    static let mdhd: BoxType = "mdhd"
    static let hdlr: BoxType = "hdlr"
    static let minf: BoxType = "minf"
    static let stbl: BoxType = "stbl"
    static let stsd: BoxType = "stsd"
    static let stts: BoxType = "stts"
    static let ctts: BoxType = "ctts"
    static let stss: BoxType = "stss"
    static let stsc: BoxType = "stsc"
    static let stsz: BoxType = "stsz"
    static let stz2: BoxType = "stz2"
    static let stco: BoxType = "stco"
    static let co64: BoxType = "co64"
    static let mvex: BoxType = "mvex"
    static let trex: BoxType = "trex"
    static let moof: BoxType = "moof"
    static let mfhd: BoxType = "mfhd"
    static let traf: BoxType = "traf"
    static let tfhd: BoxType = "tfhd"
    static let tfdt: BoxType = "tfdt"
    static let trun: BoxType = "trun"
    static let mdat: BoxType = "mdat"
    static let styp: BoxType = "styp"
    static let emsg: BoxType = "emsg"
    static let esds: BoxType = "esds"
}
