import Media
import NIOCore
import SDP
import STUN

@testable import WebRTC

/// What tests know of our side.
enum Ours {
    static let ice = ICECredentials(ufrag: "ourUfrag", password: "ourPassword0123456789012")
    static let fingerprint = CertificateFingerprint(hash: "sha-256", digest: [UInt8](0..<32))

    static func description(setup: DTLSSetup = .passive, sends: Bool = false) -> LocalDescription {
        LocalDescription(
            sessionID: 4711, ice: Self.ice, fingerprints: [Self.fingerprint], preferredSetup: setup,
            candidates: ICECandidate.candidates(for: [
                ICEEndpoint(address: "192.0.2.9", port: 8000, transport: .udp),
                ICEEndpoint(address: "192.0.2.9", port: 8000, transport: .tcp),
            ]), cname: "name", streamID: "live",
            video: sends ? .init(ssrc: 1000, retransmissionSSRC: 1001) : nil, audio: sends ? .init(ssrc: 2000) : nil)
    }

    static func publish(
        _ offer: String, _ capabilities: PublishCapabilities = PublishCapabilities()
    ) throws -> (answer: SessionDescription, media: NegotiatedMedia) {
        try Negotiator.answer(publishOffer: offer, capabilities: capabilities, local: self.description())
    }

    static func play(
        _ offer: String, video: [PlayVideo] = [.h264(.constrainedBaseline)],
        audio: [PlayAudio] = [PlayAudio(codec: .opus, channels: 2)]
    ) throws -> (answer: SessionDescription, media: NegotiatedMedia) {
        try Negotiator.answer(
            playOffer: offer, tracks: PlayTracks(video: video, audio: audio), local: self.description(sends: true))
    }
}

/// The peer of an agent under test, at virtual time.
struct Peer {
    static let credentials = ICECredentials(ufrag: "peer", password: "peerPassword012345678901")

    static func path(_ port: Int, _ transport: ICETransport = .udp, host: String = "198.51.100.7") -> ICEPath {
        ICEPath(
            transport: transport, local: Self.address("192.0.2.9", port: 8000),
            remote: Self.address(host, port: port))
    }

    private static func address(_ host: String, port: Int) -> SocketAddress {
        guard let address = try? SocketAddress(ipAddress: host, port: port) else {
            preconditionFailure("\(host) is no address")
        }
        return address
    }

    static func check(
        nominate: Bool = false, to local: ICECredentials = Ours.ice, password: String? = nil,
        adding extra: [STUNAttribute] = [], transaction: UInt64 = 1
    ) -> ByteBuffer {
        var attributes: [STUNAttribute] = [
            .username("\(local.ufrag):\(Self.credentials.ufrag)"), .priority(1_845_501_695),
        ]
        attributes += extra.isEmpty ? [.iceControlling(tieBreaker: 77)] : extra
        if nominate { attributes.append(.useCandidate) }
        return STUNMessage(
            .request, transactionID: STUNTransactionID(high: 9, low: transaction), attributes: attributes
        ).write(password: password ?? local.password)
    }
}

extension [ICEOutput] {
    /// The datagrams to send.
    var datagrams: [ByteBuffer] {
        self.compactMap { if case .transmit(let datagram, _) = $0 { datagram } else { nil } }
    }

    /// Everything else.
    var events: [ICEOutput] {
        self.filter { if case .transmit = $0 { false } else { true } }
    }
}

extension NIODeadline {
    static func millis(_ millis: Int64) -> NIODeadline { .uptimeNanoseconds(0) + .milliseconds(millis) }
}
