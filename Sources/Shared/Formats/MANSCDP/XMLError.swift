/// Why a text is no document of the subset that GB/T 28181 uses. Offsets are UTF-8 bytes from the start of the text.
package enum XMLError: Error, Equatable, Sendable {
    case tooLong(length: Int, limit: Int)
    case tooDeep(limit: Int, offset: Int)
    case tooManyElements(limit: Int)
    /// No element at all.
    case empty
    /// The text ends inside of an element, a tag or a comment.
    case truncated(offset: Int)
    case malformedTag(offset: Int)
    /// An end tag that does not belong to the element that is open.
    case mismatchedEnd(offset: Int)
    /// A document type, which could define entities: never read.
    case documentType(offset: Int)
}
