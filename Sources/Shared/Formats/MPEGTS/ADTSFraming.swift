package import Media
package import NIOCore

/// Puts the header of ADTS in front of raw AAC frames. Spec: ISO 13818-7 §6.2.
package struct ADTSFraming: Sendable, Equatable {
    private let form: TSAudioForm

    /// Errors: `unsupportedCodec` for anything but AAC, `unsupportedConfiguration` for AAC that ADTS cannot express,
    /// `configuration`.
    package init(_ track: Track) throws(MPEGTSError) {
        guard track.codec == .aac else { throw .unsupportedCodec(track.codec) }
        self.form = try TSAudioForm(track)
    }

    /// Appends `frame`, one raw access unit, behind its header. Returns false, and appends nothing, when the frame is empty
    /// or longer than the header can say (8,184 bytes).
    package func write(_ frame: ByteBuffer, into buffer: inout ByteBuffer) -> Bool {
        guard frame.readableBytes > 0, self.form.headerLength(of: frame) != nil else { return false }
        self.form.write(frame, into: &buffer)
        return true
    }
}
