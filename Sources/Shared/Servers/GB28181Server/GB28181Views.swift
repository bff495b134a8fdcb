package import GB28181
package import MANSCDP

/// An alarm that a device told of.
package struct GB28181Alarm: Sendable, Hashable {
    /// Counts up from 1.
    package var number: UInt64
    package var device: String
    /// When it came, in seconds since 1970 UTC.
    package var receivedSeconds: Int64
    package var alarm: DeviceAlarm
}

/// A device, for the API.
package struct GB28181DeviceView: Sendable, Hashable {
    package var id: String
    package var isOnline: Bool
    package var transport: String
    package var address: String
    package var userAgent: String
    package var keepalives: Int
    package var registeredSecondsAgo: Int64
    package var silentSeconds: Int64
    package var information: DeviceInformation?
    package var status: DeviceStatus?
    package var position: DevicePosition?
    package var channels: Int
}

/// A channel of a device, for the API.
package struct GB28181ChannelView: Sendable, Hashable {
    package var item: CatalogItem
    /// The stream that it is, or would be; `nil` for a directory.
    package var stream: String?
    package var session: UInt64?
}

/// A session of media, for the API.
package struct GB28181SessionView: Sendable, Hashable {
    package var id: UInt64
    package var source: DeviceChannel
    package var what: DeviceSource
    package var transport: DeviceTransport
    /// `opening`, `inviting`, `established`, `playing` or `waiting`.
    package var state: String
    package var ssrc: UInt32
    package var app: String
    package var name: String
    package var isPinned: Bool
    package var invitations: Int
    package var media: DeviceMedia.Statistics?
}

/// What the whole server did.
package struct GB28181Totals: Sendable, Hashable {
    package var devices = 0
    package var onlineDevices = 0
    package var channels = 0
    package var sessions = 0
    package var receiving = 0
    /// Packets and connections of media that nobody expected.
    package var strangers = 0
    package var platform = GB28181Platform.Statistics()
}
