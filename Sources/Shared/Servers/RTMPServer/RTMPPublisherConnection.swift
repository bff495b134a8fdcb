import AMF
import NIOCore
import StreamHub

/// Lets a stream reach the connection of its publisher from any loop.
final class RTMPPublisherConnection: PublisherConnection {
    let loop: any EventLoop
    private let handler: NIOLoopBound<WeakHandler>

    private struct WeakHandler { weak var handler: RTMPServerHandler? }

    init(handler: RTMPServerHandler, loop: any EventLoop) {
        self.loop = loop
        self.handler = NIOLoopBound(WeakHandler(handler: handler), eventLoop: loop)
    }

    func publishingRevoked(_ reason: PublishEnd) {
        self.loop.execute { self.handler.value.handler?.revoked(reason) }
    }

    func terminate(_ end: SessionEnd, _ text: String) {
        self.loop.execute { self.handler.value.handler?.terminate(end, text) }
    }

    func setReading(_ isReading: Bool) {
        self.loop.execute { self.handler.value.handler?.setReading(isReading) }
    }
}

extension PlayGrant {
    /// What a node that pulls is told of the stream.
    var information: [AMFProperty] { [AMFProperty("weirEpoch", .number(Double(self.epoch)))] }
}

extension ByteBuffer {
    /// Bytes from the system's generator.
    static func random(count: Int) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(count)
        var generator = SystemRandomNumberGenerator()
        while buffer.readableBytes < count { buffer.writeInteger(generator.next()) }
        return buffer
    }
}
