import NIOCore
import RTPSending
import SecureRTP

/// Encrypts the packets of a frame for one viewer, right to where the kernel or a connection takes them.
///
/// One serves all viewers of an event loop. Cost of a packet: its header, and one pass of the cipher; no allocation.
@safe final class BurstWriter {
    /// Where a viewer's packets go.
    enum Target {
        case datagrams(DatagramSocket, DatagramPath)
        case stream(StreamLink)
    }

    struct Outcome {
        var packets = 0
        /// Bytes of the packets, without what UDP, TCP and IP add.
        var bytes = 0
        /// Packets that nobody will get.
        var dropped = 0
    }

    private static let prefixLength = 2
    private let header = UnsafeMutableRawBufferPointer.allocate(
        byteCount: RTPBurst.maximumHeaderLength, alignment: 8)
    private let prefix = UnsafeMutableRawBufferPointer.allocate(byteCount: BurstWriter.prefixLength, alignment: 8)

    deinit {
        unsafe self.header.deallocate()
        unsafe self.prefix.deallocate()
    }

    /// Queues the packets of `burst`, or writes them to the connection. Datagrams leave with the socket's next flush.
    func write(_ burst: RTPBurst, of frame: RTPFrame, with sender: SRTPSender, to target: Target) -> Outcome {
        switch target {
        case .datagrams(let socket, let path): self.write(burst, of: frame, with: sender, to: socket, path)
        case .stream(let link): self.write(burst, of: frame, with: sender, to: link)
        }
    }

    private func write(
        _ burst: RTPBurst, of frame: RTPFrame, with sender: SRTPSender, to socket: DatagramSocket,
        _ path: DatagramPath
    ) -> Outcome {
        var outcome = Outcome()
        let overhead = self.overhead(of: burst, sender)
        var next = 0
        unsafe frame.payload.withUnsafeReadableBytes { payload in
            let base = frame.payload.readerIndex
            while next < burst.count {
                let size = burst.payload(of: next, in: frame).count + overhead
                let limit = min(
                    DatagramSocket.maximumSegments, max(1, DatagramSocket.maximumSendBytes / size), burst.count - next)
                let count = min(limit, max(1, frame.uniformCount(from: burst.packets.lowerBound + next)))
                let room = unsafe socket.reserve(count * size)
                var length = 0
                for offset in next..<next + count {
                    let range = burst.payload(of: offset, in: frame)
                    let part = unsafe UnsafeRawBufferPointer(
                        rebasing: payload[range.lowerBound - base..<range.upperBound - base])
                    let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: room[length...])
                    guard let written = unsafe self.protect(burst, offset, part, with: sender, into: rest) else {
                        // A key that is used up ends the session by its silence; nothing else can fail here.
                        outcome.dropped += burst.count - offset
                        next = burst.count
                        break
                    }
                    length += written
                    outcome.packets += 1
                }
                socket.commit(length, segment: size, to: path)
                outcome.bytes += length
                next += count
            }
        }
        return outcome
    }

    private func write(
        _ burst: RTPBurst, of frame: RTPFrame, with sender: SRTPSender, to link: StreamLink
    ) -> Outcome {
        var outcome = Outcome()
        let overhead = self.overhead(of: burst, sender)
        var room = 0
        for offset in 0..<burst.count { room += 2 + overhead + burst.payload(of: offset, in: frame).count }
        var framed = ByteBufferAllocator().buffer(capacity: room)
        unsafe frame.payload.withUnsafeReadableBytes { payload in
            let base = frame.payload.readerIndex
            for offset in 0..<burst.count {
                let range = burst.payload(of: offset, in: frame)
                let part = unsafe UnsafeRawBufferPointer(
                    rebasing: payload[range.lowerBound - base..<range.upperBound - base])
                let size = overhead + part.count
                framed.writeInteger(UInt16(size))
                let written = unsafe framed.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { room in
                    unsafe self.protect(burst, offset, part, with: sender, into: room) ?? 0
                }
                outcome.packets += written > 0 ? 1 : 0
                guard written == size else { break }
            }
        }
        guard outcome.packets == burst.count, link.send(framed: framed) else {
            return Outcome(packets: 0, bytes: 0, dropped: burst.count)
        }
        outcome.bytes = framed.readableBytes
        return outcome
    }

    private func overhead(of burst: RTPBurst, _ sender: SRTPSender) -> Int {
        burst.headerLength + (burst.originalSequence == nil ? 0 : Self.prefixLength) + sender.profile.overhead
    }

    /// Returns the length of the packet, `nil` if the key cannot be used any more.
    private func protect(
        _ burst: RTPBurst, _ offset: Int, _ payload: UnsafeRawBufferPointer, with sender: SRTPSender,
        into room: UnsafeMutableRawBufferPointer
    ) -> Int? {
        unsafe burst.writeHeader(of: offset, into: self.header)
        let header = unsafe UnsafeRawBufferPointer(rebasing: self.header[..<burst.headerLength])
        var prefix = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
        if let sequence = burst.originalSequence {
            unsafe self.prefix.storeBytes(of: sequence.bigEndian, as: UInt16.self)
            unsafe prefix = UnsafeRawBufferPointer(self.prefix)
        }
        return unsafe try? sender.protect(
            header: header, prefix: prefix, payload: payload, index: burst.packetIndex(of: offset), into: room)
    }
}
