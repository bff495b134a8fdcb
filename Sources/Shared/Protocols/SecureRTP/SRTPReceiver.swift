import COpenSSL
package import NIOCore

/// Authenticates and decrypts what the peer sends. Belongs to one event loop. Spec: RFC 3711, RFC 7714.
///
/// Packets of an SSRC are accepted once, in any order within a window of 1,024 (128 for RTCP). A source exists from
/// its first authenticated packet on.
@safe package final class SRTPReceiver {
    private struct Source {
        let ssrc: UInt32
        /// 1,024 packets: what is sent again without RTX comes a round trip and more behind the others.
        var window: ReplayWindow<16>
    }

    private struct ControlSource {
        let ssrc: UInt32
        var window: ReplayWindow<2>
    }

    /// The profile.
    package let profile: SRTPProfile
    private let media: SRTPTransform
    private let control: SRTPTransform
    private let maximumSources: Int
    private var sources: [Source] = []
    private var controlSources: [ControlSource] = []

    /// - Parameters:
    ///   - profile: how packets are protected.
    ///   - masterKey: the key of the peer's side: `SRTPKeys.remote`.
    ///   - maximumSources: the bound on SSRCs that send RTP, and on those that send RTCP.
    /// - Throws: `wrongKeyLength`, `cipherUnavailable`.
    package init(profile: SRTPProfile, masterKey: SRTPMasterKey, maximumSources: Int = 64) throws(SRTPError) {
        self.profile = profile
        self.maximumSources = maximumSources
        self.media = try SRTPTransform(
            profile: profile, masterKey: masterKey, isControl: false, direction: .opening)
        self.control = try SRTPTransform(
            profile: profile, masterKey: masterKey, isControl: true, direction: .opening)
    }

    /// Authenticates an RTP packet and decrypts it in place. Returns the length of the plain packet in bytes.
    ///
    /// - Throws: `wrongVersion`, `truncated`, `authenticationFailed`, `replayed`, `tooOld`, `tooManySources`,
    ///   `keyExhausted`; the bytes are then of no use any more.
    package func unprotectRTP(_ packet: UnsafeMutableRawBufferPointer) throws(SRTPError) -> Int {
        let bytes = UnsafeRawBufferPointer(packet)
        let plainLength = bytes.count - self.profile.overhead
        let headerLength = unsafe try PacketHeader.length(bytes, available: plainLength)
        let sequenceNumber = unsafe PacketHeader.uint16(bytes, at: 2)
        let ssrc = unsafe PacketHeader.uint32(bytes, at: 8)
        let place = self.sources.firstIndex { $0.ssrc == ssrc }
        var index = UInt64(sequenceNumber)
        if let place {
            let highest = self.sources[place].window.highest
            guard let estimate = PacketIndex.estimate(sequenceNumber, highest: highest) else {
                throw .tooOld(index: index, highest: highest)
            }
            index = estimate
            try self.sources[place].window.check(index)
        }
        guard index < PacketIndex.limit else { throw .keyExhausted }
        unsafe try self.open(packet, headerLength: headerLength, plainLength: plainLength, ssrc: ssrc, index: index)
        if let place {
            self.sources[place].window.insert(index)
        } else {
            guard self.sources.count < self.maximumSources else { throw .tooManySources(limit: self.maximumSources) }
            self.sources.append(Source(ssrc: ssrc, window: ReplayWindow(first: index)))
        }
        return plainLength
    }

    /// Authenticates an RTCP packet, and decrypts it in place if it is encrypted. Returns the length of the plain packet
    /// in bytes.
    ///
    /// - Throws: `wrongVersion`, `truncated`, `authenticationFailed`, `replayed`, `tooOld`, `tooManySources`; the bytes
    ///   are then of no use any more.
    package func unprotectRTCP(_ packet: UnsafeMutableRawBufferPointer) throws(SRTPError) -> Int {
        let bytes = UnsafeRawBufferPointer(packet)
        let plainLength = bytes.count - self.profile.controlOverhead
        unsafe try PacketHeader.check(bytes, minimum: PacketHeader.minimumRTCPLength, available: plainLength)
        let wordOffset = self.profile.isAEAD ? bytes.count - 4 : plainLength
        let word = unsafe PacketHeader.uint32(bytes, at: wordOffset)
        let index = UInt64(word & 0x7FFF_FFFF)
        let ssrc = unsafe PacketHeader.uint32(bytes, at: 4)
        let place = self.controlSources.firstIndex { $0.ssrc == ssrc }
        if let place { try self.controlSources[place].window.check(index) }
        unsafe try self.openControl(
            packet, plainLength: plainLength, wordOffset: wordOffset, isEncrypted: word & 0x8000_0000 != 0,
            ssrc: ssrc, index: index)
        if let place {
            self.controlSources[place].window.insert(index)
        } else {
            guard self.controlSources.count < self.maximumSources else {
                throw .tooManySources(limit: self.maximumSources)
            }
            self.controlSources.append(ControlSource(ssrc: ssrc, window: ReplayWindow(first: index)))
        }
        return plainLength
    }

    /// Authenticates an RTP packet, decrypts it in place and cuts the tag off. Throws as above.
    package func unprotectRTP(_ packet: inout ByteBuffer) throws(SRTPError) {
        let result = unsafe packet.withUnsafeMutableReadableBytes { bytes in
            Result { () throws(SRTPError) -> Int in unsafe try self.unprotectRTP(bytes) }
        }
        packet.moveWriterIndex(to: packet.readerIndex + (try result.get()))
    }

    /// Authenticates an RTCP packet, decrypts it in place and cuts index and tag off. Throws as above.
    package func unprotectRTCP(_ packet: inout ByteBuffer) throws(SRTPError) {
        let result = unsafe packet.withUnsafeMutableReadableBytes { bytes in
            Result { () throws(SRTPError) -> Int in unsafe try self.unprotectRTCP(bytes) }
        }
        packet.moveWriterIndex(to: packet.readerIndex + (try result.get()))
    }

    // MARK: - Packets

    private func open(
        _ packet: UnsafeMutableRawBufferPointer, headerLength: Int, plainLength: Int, ssrc: UInt32, index: UInt64
    ) throws(SRTPError) {
        // Safety: the header's length was checked, so the packet has an address.
        guard let start = packet.baseAddress else { return }
        let header = unsafe UnsafeRawBufferPointer(start: start, count: headerLength)
        let payload = unsafe UnsafeMutableRawBufferPointer(
            start: start + headerLength, count: plainLength - headerLength)
        let tag = unsafe start + plainLength
        if self.profile.isAEAD {
            guard
                unsafe self.media.openAEAD(
                    authenticated: header, alsoAuthenticated: UnsafeRawBufferPointer(start: nil, count: 0),
                    payload: payload, ssrc: ssrc, index: index, tag: tag)
            else { throw .authenticationFailed }
        } else {
            guard
                unsafe self.media.hasTag(
                    tag, of: UnsafeRawBufferPointer(start: start, count: plainLength),
                    rolloverCounter: UInt32(truncatingIfNeeded: index >> 16)),
                unsafe self.media.cryptCounterMode(
                    prefix: UnsafeRawBufferPointer(start: nil, count: 0), payload: UnsafeRawBufferPointer(payload),
                    ssrc: ssrc, index: index, to: start + headerLength)
            else { throw .authenticationFailed }
        }
    }

    /// Spec: RFC 3711 §3.4, RFC 7714 §9.
    private func openControl(
        _ packet: UnsafeMutableRawBufferPointer, plainLength: Int, wordOffset: Int, isEncrypted: Bool, ssrc: UInt32,
        index: UInt64
    ) throws(SRTPError) {
        // Safety: the packet's length was checked, so it has an address.
        guard let start = packet.baseAddress else { return }
        let headerLength = isEncrypted ? PacketHeader.minimumRTCPLength : plainLength
        let payload = unsafe UnsafeMutableRawBufferPointer(
            start: start + headerLength, count: plainLength - headerLength)
        let word = unsafe UnsafeRawBufferPointer(start: start + wordOffset, count: 4)
        if self.profile.isAEAD {
            guard
                unsafe self.control.openAEAD(
                    authenticated: UnsafeRawBufferPointer(start: start, count: headerLength),
                    alsoAuthenticated: word, payload: payload, ssrc: ssrc, index: index, tag: start + plainLength)
            else { throw .authenticationFailed }
            return
        }
        guard
            unsafe self.control.hasTag(
                start + plainLength + 4, of: UnsafeRawBufferPointer(start: start, count: plainLength + 4),
                rolloverCounter: nil)
        else { throw .authenticationFailed }
        guard isEncrypted else { return }
        guard
            unsafe self.control.cryptCounterMode(
                prefix: UnsafeRawBufferPointer(start: nil, count: 0), payload: UnsafeRawBufferPointer(payload),
                ssrc: ssrc, index: index, to: start + headerLength)
        else { throw .authenticationFailed }
    }
}
