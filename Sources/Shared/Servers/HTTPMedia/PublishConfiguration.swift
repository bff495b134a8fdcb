package import NIOCore

/// What is asked of publishers over HTTP.
package struct HTTPPublishConfiguration: Sendable, Hashable {
    /// Bodies are published at all; else `POST` and `PUT` are methods that there are not.
    package var isEnabled: Bool
    /// The largest tag's body, in bytes: 1 to 16,777,215.
    package var maximumTagBytes: Int
    /// The first frame must be here this long after the publisher was admitted.
    package var firstMediaTimeout: TimeAmount
    /// A publisher that sends no frame for longer is ended.
    package var mediaTimeout: TimeAmount

    package init(
        isEnabled: Bool = true, maximumTagBytes: Int = 8 << 20, firstMediaTimeout: TimeAmount = .seconds(20),
        mediaTimeout: TimeAmount = .seconds(10)
    ) {
        self.isEnabled = isEnabled
        self.maximumTagBytes = maximumTagBytes
        self.firstMediaTimeout = firstMediaTimeout
        self.mediaTimeout = mediaTimeout
    }

    /// The types that an FLV body may be declared as. Many clients declare none.
    static func accepts(_ contentType: String?) -> Bool {
        guard let contentType else { return true }
        return [
            "video/x-flv", "video/flv", "application/x-flv", "flv-application/octet-stream", "application/octet-stream",
        ].contains(contentType)
    }
}
