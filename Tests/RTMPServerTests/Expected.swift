import Media
import NIOCore

extension Sample {
    /// The bodies of the messages of a video track: its codec header, and frames with these numbers.
    static func videoBodies(_ numbers: Range<Int>, bytes: Int = 400) -> [ByteBuffer] {
        [self.configurationBody(self.video)] + numbers.map { self.body(self.video($0, bytes: bytes)) }
    }

    /// The bodies of the messages of an audio track.
    static func audioBodies(_ numbers: Range<Int>) -> [ByteBuffer] {
        [self.configurationBody(self.audio)] + numbers.map { self.body(self.audio($0)) }
    }
}
