internal import AMF
internal import NIOCore

/// A command message taken apart: name, transaction, command object and what follows.
///
/// **Spec:** RTMP 1.0 §7.1.1, §7.2.
struct RTMPCommand: Equatable {
    var name: String
    /// 0 when no answer is expected.
    var transactionID: Double
    var object: AMFValue
    var arguments: [AMFValue]

    init(name: String, transactionID: Double = 0, object: AMFValue = .null, arguments: [AMFValue] = []) {
        self.name = name
        self.transactionID = transactionID
        self.object = object
        self.arguments = arguments
    }

    /// Reads a message of type 20, or of type 17, whose body is the same after a format byte of 0.
    init(parsing message: RTMPMessage, limits: AMFLimits) throws(RTMPError) {
        var body = message.payload
        if message.typeID == RTMPMessageType.commandAMF3,
            body.getInteger(at: body.readerIndex, as: UInt8.self) == 0
        {
            body.moveReaderIndex(forwardBy: 1)
        }
        let values: [AMFValue]
        do {
            values = try AMF0.decode(body, limits: limits)
        } catch {
            throw .amf(error)
        }
        guard let name = values.first?.stringValue else { throw .unexpectedCommand(.withoutName) }
        self.name = name
        self.transactionID = values.count > 1 ? values[1].doubleValue ?? 0 : 0
        self.object = values.count > 2 ? values[2] : .null
        self.arguments = Array(values.dropFirst(3))
    }

    func write(into buffer: inout ByteBuffer) {
        AMF0.write(string: self.name, into: &buffer)
        AMF0.write(number: self.transactionID, into: &buffer)
        AMF0.write(self.object, into: &buffer)
        AMF0.write(self.arguments, into: &buffer)
    }

    func argument(_ index: Int) -> AMFValue? {
        index < self.arguments.count ? self.arguments[index] : nil
    }

    /// The argument at `index` as text. Numbers are accepted, since stream names like `1` are sent as such.
    func text(_ index: Int) -> String? {
        switch self.argument(index) {
        case .string(let text): text
        case .number(let number): Int(exactly: number).map { "\($0)" }
        default: nil
        }
    }

    /// `_result` for the call `transactionID`.
    static func result(
        _ transactionID: Double, object: AMFValue = .null, _ arguments: AMFValue...
    ) -> RTMPCommand {
        RTMPCommand(name: "_result", transactionID: transactionID, object: object, arguments: arguments)
    }

    /// `onStatus`, or another notification of the same shape.
    static func status(
        _ code: String, level: RTMPStatusLevel = .status, description: String, details: String? = nil,
        information: [AMFProperty] = [], name: String = "onStatus"
    ) -> RTMPCommand {
        var properties = [
            AMFProperty("level", .string(level.rawValue)), AMFProperty("code", .string(code)),
            AMFProperty("description", .string(description)),
        ]
        if let details {
            properties.append(AMFProperty("details", .string(details)))
        }
        properties += information
        return RTMPCommand(name: name, arguments: [.object(properties)])
    }
}

/// What a data message of a publisher says.
enum RTMPData: Equatable {
    case metadata(AMFValue)
    case other(name: String, payload: ByteBuffer)
    /// Nothing to pass on: a command to clear the metadata, a player's setting, or nothing that has a name.
    case ignored

    /// Reads a message of type 18, or of type 15, whose body is the same after a format byte of 0.
    ///
    /// Malformed data costs only itself; data beyond the limits is an error.
    init(parsing message: RTMPMessage, limits: AMFLimits) throws(RTMPError) {
        var body = message.payload
        if message.typeID == RTMPMessageType.dataAMF3, body.getInteger(at: body.readerIndex, as: UInt8.self) == 0 {
            body.moveReaderIndex(forwardBy: 1)
        }
        do {
            self = try Self.parse(body, limits: limits)
        } catch {
            switch error {
            case .tooDeep, .tooManyValues, .stringTooLong: throw .amf(error)
            case .truncated, .unknownMarker, .invalidReference, .unsupportedExternalizable: self = .ignored
            }
        }
    }

    private static func parse(_ body: ByteBuffer, limits: AMFLimits) throws(AMFError) -> RTMPData {
        var decoder = AMF0Decoder(body, limits: limits)
        guard var name = try decoder.next().stringValue else { return .ignored }
        if name == "@setDataFrame" {
            guard let inner = try decoder.next().stringValue else { return .ignored }
            name = inner
        }
        switch name {
        case "onMetaData": return .metadata(try decoder.next())
        case "@clearDataFrame", "|RtmpSampleAccess": return .ignored
        default:
            let payload = decoder.remaining
            // Read through once, so that what is passed on is known to be within the limits.
            _ = try decoder.rest()
            return .other(name: name, payload: payload)
        }
    }
}

/// An aggregate message taken apart into its messages, on the time of the aggregate.
///
/// **Spec:** RTMP 1.0 §7.1.6.
struct RTMPAggregate {
    private let message: RTMPMessage
    private var body: ByteBuffer
    private var firstTimestamp: UInt32?

    init(_ message: RTMPMessage) {
        self.message = message
        self.body = message.payload
    }

    mutating func next() throws(RTMPError) -> RTMPMessage? {
        guard self.body.readableBytes > 0 else { return nil }
        let offset = self.body.readerIndex - self.message.payload.readerIndex
        guard let typeID = self.body.readInteger(as: UInt8.self), let length = self.body.readUInt24(),
            let timeLow = self.body.readUInt24(), let timeHigh = self.body.readInteger(as: UInt8.self),
            self.body.readUInt24() != nil, let payload = self.body.readSlice(length: Int(length))
        else {
            throw .malformedAggregate(offset: offset, length: self.message.payload.readableBytes)
        }
        // The back pointer; some encoders leave out the last one.
        self.body.moveReaderIndex(forwardBy: min(4, self.body.readableBytes))
        let timestamp = UInt32(timeHigh) << 24 | timeLow
        let first = self.firstTimestamp ?? timestamp
        self.firstTimestamp = first
        return RTMPMessage(
            typeID: typeID, timestamp: self.message.timestamp &+ (timestamp &- first),
            streamID: self.message.streamID, payload: payload)
    }
}
