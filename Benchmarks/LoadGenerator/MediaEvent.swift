import LoadSupport

/// One audio, video or script message as a viewer sees it, without its payload.
struct MediaEvent: Equatable {
    enum Kind: UInt8 {
        case audio = 8
        case video = 9
        case script = 18
    }

    let kind: Kind
    /// Milliseconds of the stream's clock.
    let timestamp: UInt32
    /// The first bytes of the payload, most significant first, zero where it is shorter.
    let firstBytes: UInt16
    let byteCount: Int

    init(kind: Kind, timestamp: UInt32, firstBytes: UInt16, byteCount: Int) {
        self.kind = kind
        self.timestamp = timestamp
        self.firstBytes = firstBytes
        self.byteCount = byteCount
    }

    /// What FLV would begin a unit of a transport stream with.
    init(_ unit: TransportStreamCheck.Unit) {
        let firstBytes: UInt16 = unit.isVideo ? (unit.isKeyframe ? 0x1701 : 0x2701) : 0xAF01
        self.init(kind: unit.isVideo ? .video : .audio, timestamp: unit.millis, firstBytes: firstBytes, byteCount: 0)
    }

    private var codec: UInt8 { UInt8(self.firstBytes >> 8) }
    private var packetType: UInt8 { UInt8(self.firstBytes & 0xFF) }
    private var isEnhanced: Bool { self.codec & 0x80 != 0 }

    /// Codec headers carry no picture and no sound.
    var isSequenceHeader: Bool {
        switch self.kind {
        case .video: self.isEnhanced ? self.codec & 0x0F == 0 : self.packetType == 0
        case .audio: self.codec >> 4 == 10 && self.packetType == 0
        case .script: false
        }
    }

    var isKeyframe: Bool {
        self.kind == .video && self.codec >> 4 & 0x07 == 1 && !self.isSequenceHeader
    }
}
