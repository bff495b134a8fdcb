/// Why a stream id names nothing that could be published or played. Offsets count bytes from its start.
package enum SRTStreamIDError: Error, Equatable {
    case tooLong(length: Int)
    case notUTF8
    case controlCharacter(byte: UInt8, offset: Int)
    /// It begins with `#!` but is not of the form `#!::`.
    case unknownForm
    /// A pair begins with `=`.
    case missingName(offset: Int)
    case openQuote(offset: Int)
    case textBehindQuote(offset: Int)
    /// One of `r`, `h`, `m` and `t` is there twice.
    case repeatedKey(String)
    case tooManyParameters(count: Int)
    /// No app and name, or an empty one.
    case missingResource
    case unsupportedMode(String)
    case unsupportedType(String)

    /// What the peer is told.
    package var rejection: SRTRejection {
        switch self {
        case .unsupportedMode: .badMode
        case .unsupportedType: .unsupportedType
        default: .badRequest
        }
    }
}

extension SRTStreamIDError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .tooLong(let length):
            "the stream id has \(length) bytes, more than \(SRTStreamID.maximumLength)"
        case .notUTF8: "the stream id is not UTF-8"
        case .controlCharacter(let byte, let offset):
            "the stream id has control character \(byte) at offset \(offset)"
        case .unknownForm: "the stream id begins with #! but not with #!::"
        case .missingName(let offset): "the stream id has a pair without a name at offset \(offset)"
        case .openQuote(let offset): "the stream id has a quote at offset \(offset) that does not end"
        case .textBehindQuote(let offset): "the stream id goes on behind a quote at offset \(offset)"
        case .repeatedKey(let key): "the stream id has the key \(key) twice"
        case .tooManyParameters(let count): "the stream id has \(count) parameters"
        case .missingResource: "the stream id names no stream"
        case .unsupportedMode(let mode): "the mode \(mode) is neither publish nor request"
        case .unsupportedType(let type): "the type \(type) is not a stream"
        }
    }
}
