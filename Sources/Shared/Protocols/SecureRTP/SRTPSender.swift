import COpenSSL
package import NIOCore

/// Protects what one side sends: RTP and RTCP, any number of SSRCs up to a bound. Belongs to one event loop.
///
/// Spec: RFC 3711, RFC 7714.
@safe package final class SRTPSender {
    private struct Source {
        let ssrc: UInt32
        var highest: UInt64
    }

    /// The profile.
    package let profile: SRTPProfile
    private let media: SRTPTransform
    private let control: SRTPTransform
    private let maximumSources: Int
    private var sources: [Source] = []
    /// Of the next RTCP packet. One counter for all SSRCs: each of them sees indices that grow.
    private var controlIndex: UInt64 = 0

    /// - Parameters:
    ///   - profile: how to protect.
    ///   - masterKey: the key of our side: `SRTPKeys.local`.
    ///   - maximumSources: the bound on SSRCs.
    /// - Throws: `wrongKeyLength`, `cipherUnavailable`.
    package init(profile: SRTPProfile, masterKey: SRTPMasterKey, maximumSources: Int = 32) throws(SRTPError) {
        self.profile = profile
        self.maximumSources = maximumSources
        self.media = try SRTPTransform(
            profile: profile, masterKey: masterKey, isControl: false, direction: .sealing)
        self.control = try SRTPTransform(
            profile: profile, masterKey: masterKey, isControl: true, direction: .sealing)
    }

    /// Writes a protected RTP packet: the header as it is, then prefix and payload encrypted, then the tag.
    ///
    /// The rollover counter follows the sequence numbers of the header's SSRC, which may go back by up to 2^15. Cost:
    /// about a microsecond for 1,200 bytes, no allocation.
    /// - Parameters:
    ///   - header: the RTP header with its CSRCs and extensions, whole.
    ///   - prefix: what comes in front of the payload and is encrypted with it, such as RTX's original sequence number.
    ///   - payload: the payload. May be anywhere but in `destination`.
    ///   - destination: room for all and `SRTPProfile.overhead`.
    /// - Returns: the length of the packet in bytes.
    /// - Throws: `wrongVersion`, `truncated`, `noRoom`, `tooManySources`, `tooOld`, `keyExhausted`,
    ///   `cipherUnavailable`; the destination then holds nothing of use.
    package func protect(
        header: UnsafeRawBufferPointer, prefix: UnsafeRawBufferPointer = unsafe .init(start: nil, count: 0),
        payload: UnsafeRawBufferPointer, into destination: UnsafeMutableRawBufferPointer
    ) throws(SRTPError) -> Int {
        unsafe try PacketHeader.check(header, minimum: PacketHeader.minimumRTPLength, available: header.count)
        let sequenceNumber = unsafe PacketHeader.uint16(header, at: 2)
        let ssrc = unsafe PacketHeader.uint32(header, at: 8)
        let index = try self.nextIndex(ssrc: ssrc, sequenceNumber: sequenceNumber)
        return unsafe try self.seal(
            header: header, prefix: prefix, payload: payload, ssrc: ssrc, index: index, into: destination)
    }

    /// The same for a packet whose index is known: rollover counter << 16 | sequence number. For what is sent again.
    ///
    /// Under one index always the same bytes: if anything differs, be it a header extension, an AEAD gives its
    /// authentication key away (RFC 7714 §8.4). What changes on the way a second time belongs into RTX.
    /// - Throws: as above, and `indexMismatch` if the header has another sequence number.
    package func protect(
        header: UnsafeRawBufferPointer, prefix: UnsafeRawBufferPointer = unsafe .init(start: nil, count: 0),
        payload: UnsafeRawBufferPointer, index: UInt64, into destination: UnsafeMutableRawBufferPointer
    ) throws(SRTPError) -> Int {
        unsafe try PacketHeader.check(header, minimum: PacketHeader.minimumRTPLength, available: header.count)
        let sequenceNumber = unsafe PacketHeader.uint16(header, at: 2)
        guard sequenceNumber == UInt16(truncatingIfNeeded: index) else {
            throw .indexMismatch(index: index, sequenceNumber: sequenceNumber)
        }
        let ssrc = unsafe PacketHeader.uint32(header, at: 8)
        try self.note(ssrc: ssrc, index: index)
        return unsafe try self.seal(
            header: header, prefix: prefix, payload: payload, ssrc: ssrc, index: index, into: destination)
    }

    /// Protects an RTP packet in place, and makes it longer by `SRTPProfile.overhead`.
    ///
    /// - Throws: as above; the buffer then holds nothing of use.
    package func protectRTP(_ packet: inout ByteBuffer) throws(SRTPError) {
        let length = packet.readableBytes
        packet.writeRepeatingByte(0, count: self.profile.overhead)
        let result = unsafe packet.withUnsafeMutableReadableBytes { bytes in
            Result { () throws(SRTPError) -> Int in
                let plain = unsafe UnsafeRawBufferPointer(rebasing: bytes[0..<length])
                let headerLength = unsafe try PacketHeader.length(plain, available: length)
                return unsafe try self.protect(
                    header: UnsafeRawBufferPointer(rebasing: plain[0..<headerLength]),
                    payload: UnsafeRawBufferPointer(rebasing: plain[headerLength...]), into: bytes)
            }
        }
        _ = try result.get()
    }

    /// Protects a compound RTCP packet in place, encrypted, and makes it longer by `SRTPProfile.controlOverhead`.
    ///
    /// - Throws: `wrongVersion`, `truncated`, `keyExhausted`, `cipherUnavailable`; the buffer then holds nothing of use.
    package func protectRTCP(_ packet: inout ByteBuffer) throws(SRTPError) {
        let length = packet.readableBytes
        packet.writeRepeatingByte(0, count: self.profile.controlOverhead)
        let result = unsafe packet.withUnsafeMutableReadableBytes { bytes in
            Result { () throws(SRTPError) in unsafe try self.sealControl(bytes, plainLength: length) }
        }
        try result.get()
    }

    // MARK: - Indices

    private func place(of ssrc: UInt32) -> Int? {
        for place in self.sources.indices where self.sources[place].ssrc == ssrc { return place }
        return nil
    }

    private func nextIndex(ssrc: UInt32, sequenceNumber: UInt16) throws(SRTPError) -> UInt64 {
        guard let place = self.place(of: ssrc) else {
            try self.note(ssrc: ssrc, index: UInt64(sequenceNumber))
            return UInt64(sequenceNumber)
        }
        let highest = self.sources[place].highest
        guard let index = PacketIndex.estimate(sequenceNumber, highest: highest) else {
            throw .tooOld(index: UInt64(sequenceNumber), highest: highest)
        }
        guard index < PacketIndex.limit else { throw .keyExhausted }
        if index > highest { self.sources[place].highest = index }
        return index
    }

    private func note(ssrc: UInt32, index: UInt64) throws(SRTPError) {
        guard index < PacketIndex.limit else { throw .keyExhausted }
        if let place = self.place(of: ssrc) {
            self.sources[place].highest = max(self.sources[place].highest, index)
        } else {
            guard self.sources.count < self.maximumSources else { throw .tooManySources(limit: self.maximumSources) }
            self.sources.append(Source(ssrc: ssrc, highest: index))
        }
    }

    // MARK: - Packets

    private func seal(
        header: UnsafeRawBufferPointer, prefix: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer,
        ssrc: UInt32, index: UInt64, into destination: UnsafeMutableRawBufferPointer
    ) throws(SRTPError) -> Int {
        let plainLength = header.count + prefix.count + payload.count
        let length = plainLength + self.profile.overhead
        guard destination.count >= length, let start = destination.baseAddress,
            let headerStart = header.baseAddress
        else { throw .noRoom(needed: length, available: destination.count) }
        // In place the header is already there.
        if unsafe UnsafeRawPointer(start) != headerStart { unsafe memcpy(start, headerStart, header.count) }
        let output = unsafe start + header.count
        let tag = unsafe start + plainLength
        if self.profile.isAEAD {
            guard
                unsafe self.media.sealAEAD(
                    authenticated: header, alsoAuthenticated: UnsafeRawBufferPointer(start: nil, count: 0),
                    prefix: prefix, payload: payload, ssrc: ssrc, index: index, to: output, tag: tag)
            else { throw .cipherUnavailable }
        } else {
            guard
                unsafe self.media.cryptCounterMode(
                    prefix: prefix, payload: payload, ssrc: ssrc, index: index, to: output)
            else { throw .cipherUnavailable }
            unsafe self.media.writeTag(
                of: UnsafeRawBufferPointer(start: start, count: plainLength),
                rolloverCounter: UInt32(truncatingIfNeeded: index >> 16), to: tag)
        }
        return length
    }

    /// Spec: RFC 3711 §3.4, RFC 7714 §9.
    private func sealControl(_ bytes: UnsafeMutableRawBufferPointer, plainLength: Int) throws(SRTPError) {
        let plain = unsafe UnsafeRawBufferPointer(rebasing: bytes[0..<plainLength])
        unsafe try PacketHeader.check(plain, minimum: PacketHeader.minimumRTCPLength, available: plainLength)
        guard self.controlIndex < PacketIndex.controlLimit else { throw .keyExhausted }
        let index = self.controlIndex
        self.controlIndex += 1
        let ssrc = unsafe PacketHeader.uint32(plain, at: 4)
        var word = (UInt32(truncatingIfNeeded: index) | 0x8000_0000).bigEndian
        let headerLength = PacketHeader.minimumRTCPLength
        let payload = unsafe UnsafeRawBufferPointer(rebasing: plain[headerLength...])
        // Safety: the buffer has room for the packet, a tag and the word, so it has an address.
        guard let start = bytes.baseAddress else { return }
        let nothing = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
        if self.profile.isAEAD {
            let sealed = unsafe withUnsafeBytes(of: &word) { word in
                unsafe self.control.sealAEAD(
                    authenticated: UnsafeRawBufferPointer(rebasing: plain[0..<headerLength]), alsoAuthenticated: word,
                    prefix: nothing, payload: payload, ssrc: ssrc, index: index, to: start + headerLength,
                    tag: start + plainLength)
            }
            guard sealed else { throw .cipherUnavailable }
            unsafe (start + plainLength + SRTPTransform.aeadTagLength).storeBytes(of: word, as: UInt32.self)
        } else {
            guard
                unsafe self.control.cryptCounterMode(
                    prefix: nothing, payload: payload, ssrc: ssrc, index: index, to: start + headerLength)
            else { throw .cipherUnavailable }
            unsafe (start + plainLength).storeBytes(of: word, as: UInt32.self)
            unsafe self.control.writeTag(
                of: UnsafeRawBufferPointer(start: start, count: plainLength + 4), rolloverCounter: nil,
                to: start + plainLength + 4)
        }
    }
}
