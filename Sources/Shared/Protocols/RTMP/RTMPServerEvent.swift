package import AMF
package import Media
package import NIOCore

/// What a server session wants done. Write what is transmitted, in order; after `close` nothing follows.
package enum RTMPServerOutput: Equatable, Sendable {
    case transmit(ByteBuffer)
    case event(RTMPServerEvent)
    /// End the connection when all was written. `nil` when it ends in good order.
    case close(RTMPError?)
}

/// What a client did, for the session's owner.
package enum RTMPServerEvent: Equatable, Sendable {
    /// Answer with `acceptConnect` or `rejectConnect`.
    indirect case connectRequested(RTMPConnectRequest)
    /// Answer with `acceptPublish` or `rejectPublish`.
    indirect case publishRequested(RTMPStreamRequest)
    /// Answer with `acceptPlay` or `rejectPlay`.
    indirect case playRequested(RTMPStreamRequest)
    /// Audio or video of an accepted publisher.
    case media(RTMPMediaMessage)
    /// The metadata of an accepted publisher.
    case metadata(StreamMetadata, timestamp: UInt32)
    /// Other named data of an accepted publisher.
    case data(RTMPDataMessage)
    /// The client ended its accepted publish. The connection stays.
    case unpublished
    /// The client ended its accepted play. The connection stays; stop writing to it.
    case stopped
    /// A player paused or went on. While paused, write nothing.
    case paused(Bool)
    /// A player wants audio, or does not.
    case receiveAudio(Bool)
    /// A player wants video, or does not.
    case receiveVideo(Bool)
    /// How much a player buffers.
    case bufferLength(millis: UInt32)
}

/// The `connect` command of a client.
///
/// **Spec:** RTMP 1.0 §7.2.1.1; enhanced RTMP v2, "Enhancing NetConnection connect Command".
package struct RTMPConnectRequest: Sendable, Equatable {
    /// The `app` property as it was sent, empty if missing.
    package let app: String
    /// The `tcUrl` property as it was sent, empty if missing.
    package let tcURL: String
    /// `tcUrl` taken apart; `nil` when it is missing or no URL.
    package let url: RTMPURL?
    /// 0 for AMF0, 3 for AMF3.
    package let objectEncoding: Double
    /// The codecs that the client names in any of the enhanced fields, in order.
    package let fourCCs: [String]
    /// The enhanced capability flags, if sent.
    package let capabilitiesEx: Int?
    /// The whole command object.
    package let properties: [AMFProperty]
    /// What followed the command object.
    package let arguments: [AMFValue]

    init(_ command: RTMPCommand) {
        let object = command.object
        self.app = object["app"]?.stringValue ?? ""
        self.tcURL = object["tcUrl"]?.stringValue ?? ""
        self.url = try? RTMPURL(parsing: self.tcURL)
        self.objectEncoding = object["objectEncoding"]?.doubleValue ?? 0
        self.capabilitiesEx = object["capsEx"]?.doubleValue.flatMap { Int(exactly: $0) }
        self.properties = object.properties ?? []
        self.arguments = command.arguments
        var fourCCs: [String] = []
        if case .strictArray(let list) = object["fourCcList"] {
            fourCCs = list.compactMap(\.stringValue)
        }
        for name in ["videoFourCcInfoMap", "audioFourCcInfoMap"] {
            for property in object[name]?.properties ?? [] where !fourCCs.contains(property.name) {
                fourCCs.append(property.name)
            }
        }
        self.fourCCs = fourCCs
    }

    /// The member of the command object called `name`.
    package subscript(name: String) -> AMFValue? {
        self.properties.last { $0.name == name }?.value
    }

    package var flashVersion: String? { self["flashVer"]?.stringValue }
    package var pageURL: String? { self["pageUrl"]?.stringValue }
    package var swfURL: String? { self["swfUrl"]?.stringValue }

    /// The client acts on `NetConnection.Connect.ReconnectRequest`.
    package var takesReconnectRequests: Bool {
        self.capabilitiesEx.map { $0 & RTMPCapability.reconnect != 0 } ?? false
    }

    /// Whether the client speaks enhanced RTMP.
    var isEnhanced: Bool { !self.fourCCs.isEmpty || self.capabilitiesEx != nil }
}

/// What a publisher says of how its stream shall be kept. Weir treats all alike.
package enum RTMPPublishKind: String, Sendable, Hashable {
    case live, record, append
}

/// The arguments of `play`. **Spec:** RTMP 1.0 §7.2.2.1.
package struct RTMPPlayOptions: Sendable, Hashable {
    /// −2: live, else recorded. −1: live only. From 0: recorded, from there.
    package var startSeconds: Double
    /// −1: to the end.
    package var durationSeconds: Double
    /// Whether an earlier playlist ends.
    package var reset: Bool

    package init(startSeconds: Double = -2, durationSeconds: Double = -1, reset: Bool = true) {
        self.startSeconds = startSeconds
        self.durationSeconds = durationSeconds
        self.reset = reset
    }
}

/// A client's wish to publish or play a stream.
package struct RTMPStreamRequest: Sendable, Equatable {
    package enum Role: Sendable, Hashable {
        case publish(RTMPPublishKind)
        case play(RTMPPlayOptions)
    }

    /// Which of the two the client wishes, with its options.
    package let role: Role
    /// The stream name as it was sent.
    package let rawName: String
    /// The stream that the client means.
    package let address: RTMPStreamAddress

    /// The host of `tcUrl`, in lower case and without port; empty if unknown.
    package var host: String { self.address.host }
    /// The vhost that was named explicitly; `nil` when `host` decides.
    package var vhost: String? { self.address.vhost }
    package var app: String { self.address.app }
    package var name: String { self.address.name }
    package var parameters: RTMPParameters { self.address.parameters }
}
