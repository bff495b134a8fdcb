package import NIOCore
import SIP

/// One session of media with a device, over as many invitations as it takes.
package struct DeviceSession: Sendable {
    package enum Phase: Sendable, Hashable {
        /// The owner makes ready to receive.
        case opening
        case inviting
        /// The device took the invitation; media may come.
        case established
        /// The device is invited anew then. `nil`: when it registers again.
        case waiting(until: NIODeadline?)
    }

    package let id: UInt64
    package let source: DeviceChannel
    package let what: DeviceSource
    package let transport: DeviceTransport
    package internal(set) var phase = Phase.opening
    /// As what the device sends: what it was told, or what it chose.
    package internal(set) var ssrc: UInt32
    /// What it was told.
    var givenSource: UInt32
    package internal(set) var hasMedia = false
    /// Invitations in all, and those since media last came.
    package internal(set) var invitations = 0
    var failures = 0
    /// The first packet has to come until then.
    var mediaDeadline: NIODeadline?
    var dialog: Dialog?
    var lastEnd: DeviceSessionEnd?

    /// The dialog of an invitation. Spec: RFC 3261 §12.
    struct Dialog: Sendable {
        var callID: String
        var localTag: String
        var remoteTag: String?
        /// The device's own URI from its answer.
        var target: String?
        var sequence: UInt32
        var inviteBranch: String
        /// Our last `ACK`, for answers that come again.
        var acknowledgement: ByteBuffer?
        var controls: UInt32 = 0
        var isEnding = false
        var hasProvisional = false
    }

    init(id: UInt64, source: DeviceChannel, what: DeviceSource, transport: DeviceTransport, ssrc: UInt32) {
        self.id = id
        self.source = source
        self.what = what
        self.transport = transport
        self.ssrc = ssrc
        self.givenSource = ssrc
    }
}
