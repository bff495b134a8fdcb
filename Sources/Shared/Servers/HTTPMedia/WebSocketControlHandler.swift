import NIOCore
import NIOWebSocket
import StreamHub

/// Answers what a WebSocket client sends: pings, and its wish to close. Everything else is dropped.
final class WebSocketControlHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame

    private let viewer: Viewer

    init(viewer: Viewer) { self.viewer = viewer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = self.unwrapInboundIn(data)
        switch frame.opcode {
        case .ping:
            // Control frames carry at most 125 bytes (RFC 6455 §5.5).
            let payload = frame.unmaskedData
            guard payload.readableBytes <= 125 else { return context.close(promise: nil) }
            // A client that asks and does not read gets no answers.
            guard context.channel.isWritable else { return }
            var pong = ByteBuffer(bytes: [0x8A, UInt8(payload.readableBytes)])
            pong.writeImmutableBuffer(payload)
            self.viewer.send(pong)
        case .connectionClose:
            self.viewer.leave()
            self.viewer.send(ByteBuffer(bytes: [0x88, 0x00]))
            self.viewer.closeWhenWritten(within: .seconds(1))
        default:
            break
        }
    }
}
