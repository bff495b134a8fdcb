import Media

/// Numbers of ISO 13818-1 that muxer and demuxer share.
package enum TS {
    /// Of a packet, in bytes (§2.4.3.2).
    package static let packetLength = 188
    /// What a packet begins with.
    package static let syncByte: UInt8 = 0x47
    static let tablePID: UInt16 = 0
    static let nullPID: UInt16 = 0x1FFF
    /// Times on the wire count 90 kHz in 33 bits (§2.4.3.7).
    static let timePeriod: Int64 = 1 << 33
    static let timeMask: Int64 = (1 << 33) - 1
    /// The longest section of a program table, with its three bytes of header (§2.4.4).
    static let maximumSectionLength = 1024
}

/// `stream_type` values (§2.4.4.9 table 2-34; 0x81 and 0x87 are ATSC A/52's).
enum TSStreamType {
    static let mpeg1Audio: UInt8 = 0x03
    static let mpeg2Audio: UInt8 = 0x04
    static let privatePES: UInt8 = 0x06
    static let adts: UInt8 = 0x0F
    static let latm: UInt8 = 0x11
    static let metadataPES: UInt8 = 0x15
    static let h264: UInt8 = 0x1B
    static let hevc: UInt8 = 0x24
    static let ac3: UInt8 = 0x81
    static let eac3: UInt8 = 0x87
}

/// Four characters that registration and metadata descriptors are told apart by.
enum TSIdentifier {
    static let ac3: UInt32 = 0x4143_2D33
    static let eac3: UInt32 = 0x4541_4333
    static let hevc: UInt32 = 0x4845_5643
    static let id3: UInt32 = 0x4944_3320
    static let opus: UInt32 = 0x4F70_7573
}

/// `descriptor_tag` values (§2.6.1; 0x6A to 0x7F are ETSI EN 300 468's).
enum TSDescriptor {
    static let registration: UInt8 = 0x05
    static let language: UInt8 = 0x0A
    static let metadataPointer: UInt8 = 0x25
    static let metadata: UInt8 = 0x26
    static let dvbAC3: UInt8 = 0x6A
    static let dvbEAC3: UInt8 = 0x7A
    static let dvbExtension: UInt8 = 0x7F
    /// `descriptor_tag_extension` of Opus' configuration.
    static let opusExtension: UInt8 = 0x80
}
