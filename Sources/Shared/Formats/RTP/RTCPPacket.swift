package import NIOCore

/// One packet of a compound RTCP datagram.
///
/// Compounds are taken in any composition, as reduced-size RTCP allows (RFC 5506). Spec: RFC 3550 §6, RFC 4585 §6.
package enum RTCPPacket: Sendable, Hashable {
    case senderReport(RTCPSenderReport)
    case receiverReport(RTCPReceiverReport)
    case sourceDescription(RTCPSourceDescription)
    case goodbye(RTCPGoodbye)
    case application(RTCPApplicationPacket)
    /// Generic NACK. Spec: RFC 4585 §6.2.1.
    case nack(RTCPNack)
    /// The decoder of `mediaSSRC` needs a keyframe. Spec: RFC 4585 §6.3.1.
    case pictureLossIndication(senderSSRC: UInt32, mediaSSRC: UInt32)
    /// A keyframe is asked for by command. Spec: RFC 5104 §4.3.1.
    case fullIntraRequest(RTCPFullIntraRequest)
    /// The receiver's estimate of the bandwidth. Spec: draft-alvestrand-rmcat-remb §2.2.
    case receiverEstimatedMaximumBitrate(RTCPReceiverEstimate)
    /// Transport-wide feedback. Spec: draft-holmer-rmcat-transport-wide-cc-extensions §3.1.
    case transportFeedback(TransportFeedback)
    /// A packet that is not ours to read, such as an extended report; `count` is the field behind the padding bit.
    case other(type: UInt8, count: UInt8)
    /// A packet whose contents break their format; the others of the compound stand. `count` as above.
    case malformed(type: UInt8, count: UInt8, RTPError)

    /// The packet types of RTCP. Spec: RFC 3550 §12.1, RFC 4585 §9.
    enum PacketType {
        static let senderReport: UInt8 = 200
        static let receiverReport: UInt8 = 201
        static let sourceDescription: UInt8 = 202
        static let goodbye: UInt8 = 203
        static let application: UInt8 = 204
        static let transportLayerFeedback: UInt8 = 205
        static let payloadSpecificFeedback: UInt8 = 206
    }

    /// Packets of one compound that are accepted unless the caller says otherwise.
    package static let defaultMaximumPackets = 64

    /// Parses a decrypted RTCP datagram.
    ///
    /// Errors, which concern the datagram as a whole: `truncated`, `unsupportedVersion`, `invalidPadding`,
    /// `unexpectedPacketType` for a type that is not RTCP's, `tooManyPackets`. A packet whose contents alone are broken
    /// is `malformed`.
    package static func parseCompound(
        _ datagram: ByteBuffer, maximumPackets: Int = RTCPPacket.defaultMaximumPackets
    ) throws(RTPError) -> [RTCPPacket] {
        var packets: [RTCPPacket] = []
        var rest = datagram
        repeat {
            let offset = rest.readerIndex - datagram.readerIndex
            guard packets.count < maximumPackets else { throw .tooManyPackets(limit: maximumPackets) }
            guard let (first, type, words) = rest.readMultipleIntegers(as: (UInt8, UInt8, UInt16).self) else {
                throw .truncated(offset: offset, needed: 4, available: rest.readableBytes)
            }
            guard first >> 6 == 2 else { throw .unsupportedVersion(first >> 6) }
            guard RTPPacket.isRTCP(secondByte: type) else { throw .unexpectedPacketType(type) }
            guard var body = rest.readSlice(length: Int(words) * 4) else {
                throw .truncated(offset: offset + 4, needed: Int(words) * 4, available: rest.readableBytes)
            }
            if first & 0x20 != 0 {
                let padding = Int(body.getInteger(at: body.writerIndex - 1, as: UInt8.self) ?? 0)
                guard body.readableBytes > 0, padding > 0, padding <= body.readableBytes else {
                    throw .invalidPadding(length: padding, available: body.readableBytes)
                }
                body.moveWriterIndex(to: body.writerIndex - padding)
            }
            let count = first & 0x1F
            do throws(RTPError) {
                packets.append(try self.parse(type: type, count: count, body: RTPBytes(body, offset: offset + 4)))
            } catch {
                packets.append(.malformed(type: type, count: count, error))
            }
        } while rest.readableBytes > 0
        return packets
    }

    private static func parse(type: UInt8, count: UInt8, body: RTPBytes) throws(RTPError) -> RTCPPacket {
        var body = body
        switch (type, count) {
        case (PacketType.senderReport, _):
            return .senderReport(try RTCPSenderReport(parsing: &body, count: Int(count)))
        case (PacketType.receiverReport, _):
            return .receiverReport(try RTCPReceiverReport(parsing: &body, count: Int(count)))
        case (PacketType.sourceDescription, _):
            return .sourceDescription(try RTCPSourceDescription(parsing: &body, count: Int(count)))
        case (PacketType.goodbye, _): return .goodbye(try RTCPGoodbye(parsing: &body, count: Int(count)))
        case (PacketType.application, _):
            return .application(try RTCPApplicationPacket(parsing: &body, subtype: count))
        case (PacketType.transportLayerFeedback, 1): return .nack(try RTCPNack(parsing: &body))
        case (PacketType.transportLayerFeedback, 15):
            return .transportFeedback(try TransportFeedback(parsing: &body))
        case (PacketType.payloadSpecificFeedback, 1):
            return .pictureLossIndication(
                senderSSRC: try body.integer(as: UInt32.self), mediaSSRC: try body.integer(as: UInt32.self))
        case (PacketType.payloadSpecificFeedback, 4):
            return .fullIntraRequest(try RTCPFullIntraRequest(parsing: &body))
        case (PacketType.payloadSpecificFeedback, 15):
            guard let estimate = try RTCPReceiverEstimate(parsing: &body) else {
                return .other(type: type, count: count)
            }
            return .receiverEstimatedMaximumBitrate(estimate)
        default: return .other(type: type, count: count)
        }
    }

    /// Appends the packet. `other` and `malformed` append nothing.
    package func write(into buffer: inout ByteBuffer) {
        switch self {
        case .senderReport(let report):
            self.write(PacketType.senderReport, count: report.reports.count, into: &buffer) { report.write(into: &$0) }
        case .receiverReport(let report):
            self.write(PacketType.receiverReport, count: report.reports.count, into: &buffer) {
                report.write(into: &$0)
            }
        case .sourceDescription(let description):
            self.write(PacketType.sourceDescription, count: description.chunks.count, into: &buffer) {
                description.write(into: &$0)
            }
        case .goodbye(let goodbye):
            self.write(PacketType.goodbye, count: goodbye.ssrcs.count, into: &buffer) { goodbye.write(into: &$0) }
        case .application(let packet):
            self.write(PacketType.application, count: Int(packet.subtype), into: &buffer) { packet.write(into: &$0) }
        case .nack(let nack):
            self.write(PacketType.transportLayerFeedback, count: 1, into: &buffer) { nack.write(into: &$0) }
        case .pictureLossIndication(let sender, let media):
            self.write(PacketType.payloadSpecificFeedback, count: 1, into: &buffer) {
                $0.writeMultipleIntegers(sender, media)
            }
        case .fullIntraRequest(let request):
            self.write(PacketType.payloadSpecificFeedback, count: 4, into: &buffer) { request.write(into: &$0) }
        case .receiverEstimatedMaximumBitrate(let estimate):
            self.write(PacketType.payloadSpecificFeedback, count: 15, into: &buffer) { estimate.write(into: &$0) }
        case .transportFeedback(let feedback):
            self.write(PacketType.transportLayerFeedback, count: 15, into: &buffer) { feedback.write(into: &$0) }
        case .other, .malformed: break
        }
    }

    private func write(_ type: UInt8, count: Int, into buffer: inout ByteBuffer, body: (inout ByteBuffer) -> Void) {
        precondition(count < 32, "an RTCP packet counts to 31, got \(count)")
        let start = buffer.writerIndex
        buffer.writeMultipleIntegers(0x80 | UInt8(truncatingIfNeeded: count), type, UInt16(0))
        body(&buffer)
        buffer.writeRepeatingByte(0, count: (start - buffer.writerIndex) & 3)
        buffer.setInteger(UInt16(truncatingIfNeeded: (buffer.writerIndex - start) / 4 - 1), at: start + 2)
    }
}
