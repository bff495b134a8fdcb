package import MANSCDP

/// How the media of a session travel.
package enum DeviceTransport: String, Sendable, Hashable, CaseIterable {
    case udp
    /// The device connects to us.
    case tcpPassive = "tcp-passive"
    /// We connect to the device.
    case tcpActive = "tcp-active"

    var isTCP: Bool { self != .udp }
}

/// What of a channel is wanted.
package enum DeviceSource: Sendable, Hashable {
    case live
    /// A recording of the device, in seconds since 1970 UTC, at the speed at which it is shown.
    case playback(start: Int64, end: Int64)
    /// The same as fast as the device can, up to `speed` times.
    case download(start: Int64, end: Int64, speed: Int)

    package var isLive: Bool { self == .live }
}

/// One channel of one device.
package struct DeviceChannel: Sendable, Hashable {
    package var device: String
    package var channel: String

    package init(device: String, channel: String) {
        self.device = device
        self.channel = channel
    }
}

/// What the owner has to receive before a device is invited.
package struct MediaPlan: Sendable, Hashable {
    package var session: UInt64
    package var source: DeviceChannel
    package var what: DeviceSource
    package var transport: DeviceTransport
    package var ssrc: UInt32
}

/// Why a session of media is over, or was never begun.
package enum DeviceSessionEnd: Sendable, Hashable {
    /// It was asked for.
    case stopped
    /// The device said goodbye: the end of a recording, or somebody else's wish.
    case byeFromDevice
    /// The final response of the device, if it was no success.
    case refused(status: Int)
    /// The device did not answer the invitation.
    case noAnswer
    /// The device answered with something that cannot be used.
    case badAnswer
    /// No media came, or came any more.
    case noMedia
    /// The device unregistered, was silent for too long, or is not there.
    case deviceGone
    /// Nobody may receive the media, such as by the rules of access.
    case rejected(String)
    /// There was no port for the media.
    case noPort

    package var text: String {
        switch self {
        case .stopped: "stopped"
        case .byeFromDevice: "the device ended it"
        case .refused(let status): "the device refused with \(status)"
        case .noAnswer: "the device did not answer the invitation"
        case .badAnswer: "the device's answer cannot be used"
        case .noMedia: "no media came"
        case .deviceGone: "the device is not registered"
        case .rejected(let text): text
        case .noPort: "no port was free for the media"
        }
    }
}

/// Why a wish cannot be granted.
package enum DeviceRefusal: Error, Sendable, Hashable {
    case unknownDevice
    case unknownChannel
    case unknownSession
    case deviceOffline
    /// The session is none of a recording.
    case notPlayback
    case tooManyRequests
    case tooManySessions
}

/// What is asked of a device.
package enum DeviceRequest: Sendable, Hashable {
    case catalog
    case information
    case status
    /// The recordings of a channel in a time, in seconds since 1970 UTC.
    case recordings(channel: String, start: Int64, end: Int64)
    case ptz(channel: String, PTZCommand)
    /// A control that a device answers, such as `RecordCmd` with `Record`.
    case control(channel: String, name: String, value: String)
    case playback(session: UInt64, PlaybackControl)
}

/// How a request to a device ended.
package enum DeviceAnswer: Sendable, Hashable {
    case catalog([CatalogItem])
    case information(DeviceInformation)
    case status(DeviceStatus)
    /// `isComplete` is false if pages are missing.
    case recordings([DeviceRecording], isComplete: Bool)
    /// The device took the control; what it said of it, such as `OK`.
    case taken(String)
    /// The final response of the device, which was no success.
    case refused(status: Int)
    case timedOut
    case deviceGone
}

/// What happened, for the owner.
package enum GB28181Event: Sendable, Equatable {
    case registered(device: String, isNew: Bool)
    /// It unregistered (`nil`), or was gone for the reason.
    case unregistered(device: String, reason: String?)
    /// It was sent away, or made way for others: nothing is known of it any more.
    case forgotten(device: String)
    /// A registration was refused: a wrong password, or an unknown device.
    case registrationRefused(device: String, reason: String)
    case catalogChanged(device: String)
    case alarm(device: String, DeviceAlarm)
    case position(device: String, DevicePosition)
    /// Receive this; then call `mediaReady` or `mediaFailed`.
    case openMedia(MediaPlan)
    /// For `tcpActive`: connect there.
    case connectMedia(session: UInt64, host: String, port: Int)
    /// The device took the invitation.
    /// `ssrc` is the one that the device chose, which may be another than ours.
    case established(session: UInt64, ssrc: UInt32)
    /// What was opened for the session is no longer needed. `isOver` is false where the device is going to be invited
    /// anew.
    case closeMedia(session: UInt64, DeviceSessionEnd, isOver: Bool)
    case answered(request: UInt64, DeviceAnswer)
}
