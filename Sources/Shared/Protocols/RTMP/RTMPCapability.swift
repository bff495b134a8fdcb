/// Flags of `capsEx`, by which clients and servers tell what of enhanced RTMP they do.
///
/// **Spec:** enhanced RTMP v2, "Enhancing NetConnection connect Command", `CapsExMask`.
enum RTMPCapability {
    /// Acts on a request to reconnect, or sends such requests.
    static let reconnect = 1
    /// Understands messages that carry several tracks.
    static let multitrack = 2
    /// Understands modifiers in front of packets.
    static let modifiers = 4
}

/// Codes of `onStatus` that both sides of a connection know.
enum RTMPStatusCode {
    /// **Spec:** enhanced RTMP v2, "Reconnect Request".
    static let reconnectRequest = "NetConnection.Connect.ReconnectRequest"
}
