package import Media
package import NIOCore

/// The message types of RTMP. **Spec:** RTMP 1.0 §5.4, §6.2, §7.1.
package enum RTMPMessageType {
    package static let setChunkSize: UInt8 = 1
    package static let abort: UInt8 = 2
    package static let acknowledgement: UInt8 = 3
    package static let userControl: UInt8 = 4
    package static let windowAcknowledgementSize: UInt8 = 5
    package static let setPeerBandwidth: UInt8 = 6
    package static let audio: UInt8 = 8
    package static let video: UInt8 = 9
    package static let dataAMF3: UInt8 = 15
    package static let sharedObjectAMF3: UInt8 = 16
    package static let commandAMF3: UInt8 = 17
    package static let dataAMF0: UInt8 = 18
    package static let sharedObjectAMF0: UInt8 = 19
    package static let commandAMF0: UInt8 = 20
    package static let aggregate: UInt8 = 22
}

/// The chunk streams on which Weir sends. A receiver need not care, but old players expect control on 2.
package enum RTMPChunkStreamID {
    package static let control: UInt32 = 2
    package static let command: UInt32 = 3
    package static let data: UInt32 = 4
    package static let status: UInt32 = 5
    package static let video: UInt32 = 6
    package static let audio: UInt32 = 7
}

/// The events of a user control message. **Spec:** RTMP 1.0 §7.1.7.
enum RTMPUserControl {
    static let streamBegin: UInt16 = 0
    static let streamEOF: UInt16 = 1
    static let streamDry: UInt16 = 2
    static let setBufferLength: UInt16 = 3
    static let streamIsRecorded: UInt16 = 4
    static let pingRequest: UInt16 = 6
    static let pingResponse: UInt16 = 7
}

/// One whole RTMP message, as it leaves the chunk layer.
package struct RTMPMessage: Sendable, Hashable {
    package var typeID: UInt8
    /// Absolute, in milliseconds modulo 2³²; deltas are already added.
    package var timestamp: UInt32
    /// The message stream: 0 for the connection, else what `createStream` gave.
    package var streamID: UInt32
    package var payload: ByteBuffer

    package init(typeID: UInt8, timestamp: UInt32, streamID: UInt32, payload: ByteBuffer) {
        self.typeID = typeID
        self.timestamp = timestamp
        self.streamID = streamID
        self.payload = payload
    }
}

/// An audio or video message of a publisher.
package struct RTMPMediaMessage: Sendable, Hashable {
    package var kind: MediaKind
    /// Milliseconds modulo 2³² of the publisher's clock.
    package var timestamp: UInt32
    /// The body of an FLV audio or video tag: tag body header, then the codec's data. Never empty.
    package var body: ByteBuffer

    package init(kind: MediaKind, timestamp: UInt32, body: ByteBuffer) {
        self.kind = kind
        self.timestamp = timestamp
        self.body = body
    }
}

/// A named data message of a publisher that is not its metadata, such as `onTextData`.
package struct RTMPDataMessage: Sendable, Hashable {
    package var name: String
    /// Milliseconds modulo 2³² of the publisher's clock.
    package var timestamp: UInt32
    /// The AMF0 values after the name, as they came.
    package var payload: ByteBuffer

    package init(name: String, timestamp: UInt32, payload: ByteBuffer) {
        self.name = name
        self.timestamp = timestamp
        self.payload = payload
    }
}

/// The `level` of an `onStatus` object.
package enum RTMPStatusLevel: String, Sendable, Hashable {
    case status, warning, error
}
