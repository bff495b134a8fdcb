/// Names one node of the cluster, for as long as the operator keeps the name.
///
/// 1 to 64 bytes of `A–Z a–z 0–9 . _ -`, so that a name can stand in URLs, file names and logs as it is.
package struct NodeID: Hashable, Sendable {
    package static let maximumLength = 64

    package let rawValue: String

    /// Checks length and alphabet.
    package init(_ text: String) throws(PlacementValueError) {
        let length = text.utf8.count
        guard length > 0, length <= Self.maximumLength else { throw .length(.nodeID, found: length) }
        for (offset, byte) in text.utf8.enumerated() {
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                continue
            default:
                throw .forbiddenByte(.nodeID, byte: byte, offset: offset)
            }
        }
        self.rawValue = text
    }
}

extension NodeID: CustomStringConvertible {
    package var description: String { self.rawValue }
}

extension NodeID: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.rawValue)
    }
}

/// Why a value that a node sent cannot be used.
package enum PlacementValueError: Error, Equatable {
    package enum Field: String, Sendable {
        case nodeID, instance, region, host, version, rtmpPort, httpPort, apiPort, srtPort, rtspPort, rtspsPort, load
        case streams, released, tokenDigest, epoch, silentMillis, position
    }

    /// A text of `found` bytes, which is empty where it must not be, or too long.
    case length(Field, found: Int)
    case forbiddenByte(Field, byte: UInt8, offset: Int)
    /// A number outside of its range.
    case outOfRange(Field)
    /// A list with more entries than are allowed.
    case tooMany(Field, found: Int, allowed: Int)
}

/// What a node does in the cluster.
package enum NodeRole: String, Sendable, Hashable, Codable, CaseIterable {
    /// Takes publishers in and holds placements.
    case origin
    /// Pulls from origins and forwards publishers to them.
    case edge
}

/// What a node says of itself when it joins, and others need in order to reach it.
package struct NodeDescription: Sendable, Hashable, Codable {
    package var id: NodeID
    /// Random text, new at each start of the process. Tells a restarted node from one that was only cut off.
    package var instance: String
    package var role: NodeRole
    /// A free label of the place the node is in. Nodes of one region are preferred for each other; may be empty.
    package var region: String
    /// Host name or address at which other nodes reach it.
    package var host: String
    package var rtmpPort: Int
    /// 0 when the node serves no media over HTTP.
    package var httpPort: Int
    /// 0 when the node has no API that others may reach.
    package var apiPort: Int
    /// UDP. 0 when SRT is off; `nil` for nodes of versions that know no SRT, no RTSP and no transport streams over HTTP.
    package var srtPort: Int?
    /// 0 when RTSP is off; `nil` as for `srtPort`.
    package var rtspPort: Int?
    /// RTSP over TLS; 0 when it is off, `nil` as for `srtPort`.
    package var rtspsPort: Int?
    /// It can bring streams that nobody publishes when somebody wants to play them, such as a camera's; `nil` as for
    /// `srtPort`.
    package var suppliesStreams: Bool?
    /// It takes FLV that is posted; `nil` for nodes of versions that do not tell, where nobody is sent to post.
    package var takesPostedFLV: Bool?
    package var version: String

    package init(
        id: NodeID, instance: String, role: NodeRole, region: String = "", host: String, rtmpPort: Int,
        httpPort: Int = 0, apiPort: Int = 0, srtPort: Int? = nil, rtspPort: Int? = nil, rtspsPort: Int? = nil,
        suppliesStreams: Bool? = nil, takesPostedFLV: Bool? = nil, version: String = ""
    ) {
        self.id = id
        self.instance = instance
        self.role = role
        self.region = region
        self.host = host
        self.rtmpPort = rtmpPort
        self.httpPort = httpPort
        self.apiPort = apiPort
        self.srtPort = srtPort
        self.rtspPort = rtspPort
        self.rtspsPort = rtspsPort
        self.suppliesStreams = suppliesStreams
        self.takesPostedFLV = takesPostedFLV
        self.version = version
    }

    /// Checks lengths (instance 1…64, host 1…255, region and version up to 64 bytes) and ports.
    package func validate() throws(PlacementValueError) {
        try Self.checkLength(self.instance, 1...64, .instance)
        try Self.checkLength(self.region, 0...64, .region)
        try Self.checkLength(self.host, 1...255, .host)
        try Self.checkLength(self.version, 0...64, .version)
        guard (1...65_535).contains(self.rtmpPort) else { throw .outOfRange(.rtmpPort) }
        let others: [(Int, PlacementValueError.Field)] = [
            (self.httpPort, .httpPort), (self.apiPort, .apiPort), (self.srtPort ?? 0, .srtPort),
            (self.rtspPort ?? 0, .rtspPort), (self.rtspsPort ?? 0, .rtspsPort),
        ]
        for (port, field) in others where !(0...65_535).contains(port) { throw .outOfRange(field) }
    }

    /// The node has media over HTTP beside FLV, HLS and DASH.
    package var servesTransportStreams: Bool { self.httpPort > 0 && self.srtPort != nil }

    private static func checkLength(
        _ text: String, _ range: ClosedRange<Int>, _ field: PlacementValueError.Field
    ) throws(PlacementValueError) {
        let length = text.utf8.count
        guard range.contains(length) else { throw .length(field, found: length) }
        // Hosts and labels are printed and put into URLs, so nothing below or at a space, and no delete.
        for (offset, byte) in text.utf8.enumerated() where byte <= 0x20 || byte == 0x7F {
            throw .forbiddenByte(field, byte: byte, offset: offset)
        }
    }
}

/// How busy a node is, as its heartbeat says.
package struct LoadVector: Sendable, Hashable, Codable {
    package var egressBitsPerSecond: UInt64
    /// What the node may send at most. 0 when nobody told.
    package var egressCapacityBitsPerSecond: UInt64
    /// CPU of the busiest event loop, as a share of one core, 0…1.
    package var busiestLoop: Double
    package var memoryBytes: UInt64
    /// 0 when nothing limits it.
    package var memoryLimitBytes: UInt64
    package var streams: Int
    package var viewers: Int
    /// How late the latest event loop runs its timers.
    package var loopLagMillis: Int

    package init(
        egressBitsPerSecond: UInt64 = 0, egressCapacityBitsPerSecond: UInt64 = 0, busiestLoop: Double = 0,
        memoryBytes: UInt64 = 0, memoryLimitBytes: UInt64 = 0, streams: Int = 0, viewers: Int = 0,
        loopLagMillis: Int = 0
    ) {
        self.egressBitsPerSecond = egressBitsPerSecond
        self.egressCapacityBitsPerSecond = egressCapacityBitsPerSecond
        self.busiestLoop = busiestLoop
        self.memoryBytes = memoryBytes
        self.memoryLimitBytes = memoryLimitBytes
        self.streams = streams
        self.viewers = viewers
        self.loopLagMillis = loopLagMillis
    }

    /// The scarcest resource's used share: 0 is idle, 1 is full. Resources without a known limit do not count.
    package var utilisation: Double {
        var highest = self.busiestLoop.isFinite ? max(self.busiestLoop, 0) : 1
        if self.egressCapacityBitsPerSecond > 0 {
            highest = max(highest, Double(self.egressBitsPerSecond) / Double(self.egressCapacityBitsPerSecond))
        }
        if self.memoryLimitBytes > 0 {
            highest = max(highest, Double(self.memoryBytes) / Double(self.memoryLimitBytes))
        }
        return highest
    }
}
