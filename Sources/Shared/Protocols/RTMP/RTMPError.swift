package import AMF

/// Why an RTMP connection was ended.
package enum RTMPError: Error, Hashable, Sendable {
    // The peer's handshake.
    /// C0 or S0 was not 3. 6 and 8 are the encrypted variants, which are not offered.
    case unsupportedVersion(UInt8)
    case malformedProxyHeader(length: Int)

    // The peer's chunks.
    /// A type 2 or 3 chunk on a chunk stream that never had a full header.
    case missingChunkHeader(chunkStream: UInt32, format: UInt8)
    /// A new header where a message was not finished yet.
    case unfinishedMessage(chunkStream: UInt32, format: UInt8, received: Int, length: Int)
    case messageTooLong(length: Int, limit: Int)
    case chunkSizeOutOfRange(size: UInt32, limit: Int)
    case tooManyChunkStreams(limit: Int)
    case tooManyPartialBytes(limit: Int)

    // The peer's messages.
    case truncatedMessage(typeID: UInt8, needed: Int, available: Int)
    case malformedAggregate(offset: Int, length: Int)
    case amf(AMFError)
    case unexpectedCommand(RTMPCommandPlace)
    /// More was sent than is held while the owner decides.
    case tooMuchHeld(limit: Int)
    /// A server answered a command with an error, or with a status of level `error`.
    case rejected(code: String)
    /// A server refused a call that has to succeed.
    case callFailed(RTMPCall, code: String)

    // Time.
    case deadline(RTMPDeadline)
}

/// Where in a session a command came that has no place there.
package enum RTMPCommandPlace: String, Sendable, Hashable {
    case beforeConnect, secondConnect, withoutName
}

/// The calls of a client whose failure ends its session.
package enum RTMPCall: String, Sendable, Hashable {
    case connect, createStream, publish, play
}

/// What a session waits for.
package enum RTMPDeadline: String, Sendable, Hashable {
    case handshake
    /// The `connect` command.
    case connect
    /// `publish` or `play`.
    case command
    /// Another command after a refusal or an end. It passes in good order: the session closes without an error.
    case rejection
    /// The first message of an accepted publisher.
    case firstMedia
    /// The next message of a publisher.
    case media
    /// Time to send a ping; nothing has failed.
    case ping
    /// Any byte from a player.
    case silentPlayer
    /// As a client: the whole way from the handshake to media.
    case negotiation
    /// As a client: the next message of the stream that is played.
    case upstreamMedia
}

extension RTMPError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unsupportedVersion(let version): "handshake version \(version) is not RTMP 3"
        case .malformedProxyHeader(let length): "proxy header of \(length) bytes"
        case .missingChunkHeader(let chunkStream, let format):
            "type \(format) chunk on chunk stream \(chunkStream) that has no header yet"
        case .unfinishedMessage(let chunkStream, let format, let received, let length):
            "type \(format) header on chunk stream \(chunkStream) after \(received) of \(length) bytes of a message"
        case .messageTooLong(let length, let limit): "message of \(length) bytes, limit \(limit)"
        case .chunkSizeOutOfRange(let size, let limit): "chunk size \(size), limit \(limit)"
        case .tooManyChunkStreams(let limit): "more than \(limit) chunk streams"
        case .tooManyPartialBytes(let limit): "more than \(limit) bytes of unfinished messages"
        case .truncatedMessage(let typeID, let needed, let available):
            "message of type \(typeID) has \(available) bytes, needs \(needed)"
        case .malformedAggregate(let offset, let length): "aggregate of \(length) bytes is broken at offset \(offset)"
        case .amf(let error): error.description
        case .unexpectedCommand(let place): "unexpected command: \(place.rawValue)"
        case .tooMuchHeld(let limit): "more than \(limit) bytes sent before the answer"
        case .rejected(let code): "refused with \(code)"
        case .callFailed(let call, let code): "\(call.rawValue) failed with \(code)"
        case .deadline(let reason): "timeout while waiting: \(reason.rawValue)"
        }
    }
}
