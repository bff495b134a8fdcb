import NIOCore
import NIOWebSocket
import StreamHub

/// Answers what a WebSocket client sends: pings, and its wish to close. Other frames are dropped, and those that no client
/// may send end the connection.
final class WebSocketControlHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame

    private let viewer: Viewer

    init(viewer: Viewer) { self.viewer = viewer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = self.unwrapInboundIn(data)
        guard Self.isAllowed(frame) else { return self.close(code: 1_002) }
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
            self.close(code: nil)
        default:
            break
        }
    }

    /// Clients mask every frame, and no extension was agreed on (RFC 6455 §5.1, §5.2).
    private static func isAllowed(_ frame: WebSocketFrame) -> Bool {
        let opcodes: [WebSocketOpcode] = [.text, .binary, .continuation, .ping, .pong, .connectionClose]
        return frame.maskKey != nil && !frame.rsv1 && !frame.rsv2 && !frame.rsv3 && opcodes.contains(frame.opcode)
    }

    /// Spec: RFC 6455 §7.4.1.
    private func close(code: UInt16?) {
        var frame = ByteBuffer(bytes: [0x88, code == nil ? 0x00 : 0x02])
        if let code { frame.writeInteger(code) }
        self.viewer.leave()
        self.viewer.send(frame)
        self.viewer.closeWhenWritten(within: .seconds(1))
    }
}
