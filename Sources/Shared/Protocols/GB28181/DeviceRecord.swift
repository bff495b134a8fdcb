package import MANSCDP
package import NIOCore

/// A device that is, or was, registered.
package struct DeviceRecord: Sendable {
    package let id: String
    package internal(set) var path: SIPPath
    /// The URI that it gave for itself, by its host and port.
    package internal(set) var isOnline = true
    package internal(set) var registeredAt: NIODeadline
    package internal(set) var lastSeen: NIODeadline
    package internal(set) var keepalives = 0
    package internal(set) var userAgent = ""
    /// `X-GB-Ver`, such as `3.0` of the edition of 2022; empty where the device names none.
    package internal(set) var edition = ""
    package internal(set) var information: DeviceInformation?
    package internal(set) var status: DeviceStatus?
    package internal(set) var position: DevicePosition?
    /// In the order of the identifiers.
    package internal(set) var channels: [CatalogItem] = []
    package internal(set) var hasCatalog = false

    /// The registration ends then, if it is not renewed.
    var expires: NIODeadline
    var registrationCallID: String
    /// The catalog is asked for again then.
    var catalogDue: NIODeadline?
    var subscriptions: [DeviceEvent: DeviceSubscription] = [:]
    /// Requests of ours that are not answered yet.
    var openRequests = 0

    init(id: String, path: SIPPath, now: NIODeadline, expires: NIODeadline, callID: String) {
        self.id = id
        self.path = path
        self.registeredAt = now
        self.lastSeen = now
        self.expires = expires
        self.registrationCallID = callID
    }

    /// The channels that have a picture. A device without any is one itself.
    package var playableChannels: [CatalogItem] {
        let found = self.channels.filter(\.isPlayable)
        guard found.isEmpty, self.hasCatalog else { return found }
        var own = CatalogItem(id: self.id, name: self.information?.name ?? "")
        own.isOnline = true
        return [own]
    }
}

extension CatalogItem {
    /// Whether it is a camera rather than a directory, by the type in the identifier's digits 11 to 13.
    package var isPlayable: Bool {
        guard self.id.utf8.count == 20 else { return !self.isParent && self.id.utf8.count > 8 }
        let type = Int(self.id.dropFirst(10).prefix(3)) ?? 0
        switch type {
        // Cameras, network cameras, and what else has a picture.
        case 131, 132: return true
        // Areas, groups, users, servers and alarm inputs and outputs.
        case 134, 135, 200...999: return false
        default: return !self.isParent
        }
    }
}

/// A subscription of ours at a device: a dialog.
struct DeviceSubscription: Sendable {
    var callID: String
    var localTag: String
    var remoteTag: String?
    var sequence: UInt32 = 1
    /// It is asked for, or renewed, then.
    var due: NIODeadline
}
