import COpenSSL
package import NIOCore

/// One side of a DTLS association that makes keys for SRTP.
///
/// States: *waiting* (made), *handshaking* (from `start`), *established* (SRTP may flow; only alerts are looked at),
/// *released* (the same with almost no memory), *ended* (failed, or closed by either side). Belongs to one event loop.
/// It draws its randomness and the clock of its retransmissions from OpenSSL; `nextDeadline` says when `timeout` wants
/// to be called. Spec: RFC 6347, RFC 5764.
@safe package final class DTLSEndpoint {
    private enum State {
        case waiting
        case handshaking(until: NIODeadline)
        case established
        case released(DTLSAlertChannel)
        case ended
    }

    /// Which side this is.
    package let role: DTLSRole
    /// When to call `timeout`; `nil` while there is nothing to wait for.
    package private(set) var nextDeadline: NIODeadline?

    private let configuration: DTLSConfiguration
    private let fingerprints: [DTLSFingerprint]
    private var state = State.waiting
    /// `nil` once released or ended.
    private var ssl: OpaquePointer?
    /// The datagram that OpenSSL has not read yet.
    private var input: ByteBuffer?
    /// What OpenSSL wrote since the last call.
    private var written: [ByteBuffer] = []
    /// The latest record that was sent under the new keys.
    private var lastRecord: DTLSRecord?

    var maximumDatagramLength: Int { self.configuration.settings.maximumDatagramLength }

    /// - Parameters:
    ///   - configuration: our certificate and what is offered.
    ///   - role: which side we are.
    ///   - fingerprints: those that signalling gave for the peer. Of several functions, the strongest counts, and one
    ///     hash that fits is enough. Without any, the handshake fails at its end.
    /// - Throws: `library` if OpenSSL has no memory.
    package init(
        configuration: DTLSConfiguration, role: DTLSRole, expecting fingerprints: [DTLSFingerprint]
    ) throws(DTLSError) {
        self.configuration = configuration
        self.role = role
        self.fingerprints = fingerprints
        OpenSSLErrors.clear()
        guard let ssl = unsafe SSL_new(configuration.context) else {
            throw .library(reason: OpenSSLErrors.takeReason())
        }
        guard let bio = unsafe BIO_new(configuration.method) else {
            unsafe SSL_free(ssl)
            throw .library(reason: OpenSSLErrors.takeReason())
        }
        unsafe self.ssl = ssl
        unsafe BIO_set_data(bio, Unmanaged.passUnretained(self).toOpaque())
        // One reference is for both directions.
        unsafe SSL_set_bio(ssl, bio, bio)
        _ = unsafe weir_SSL_set_mtu(ssl, configuration.settings.maximumDatagramLength)
        unsafe DTLS_set_timer_cb(ssl) { ssl, last in unsafe DTLSEndpoint.nextInterval(ssl, last: last) }
        switch role {
        case .client: unsafe SSL_set_connect_state(ssl)
        case .server: unsafe SSL_set_accept_state(ssl)
        }
    }

    deinit {
        if let ssl = unsafe self.ssl { unsafe SSL_free(ssl) }
    }

    // MARK: - Inputs

    /// Begins the handshake, once there is a path to the peer. Returns the client's first datagrams; a server has none.
    /// `DTLSConfiguration.Settings.handshakeTimeout` counts from here.
    package func start(now: NIODeadline) -> DTLSOutput {
        guard case .waiting = self.state else { return DTLSOutput() }
        self.state = .handshaking(until: now + self.configuration.settings.handshakeTimeout)
        return self.advance(now: now)
    }

    /// Takes a datagram whose first byte is in 20...63 (RFC 7983). What is not a record of this association is ignored,
    /// as is all that comes before `start`.
    package func receive(_ datagram: ByteBuffer, now: NIODeadline) -> DTLSOutput {
        switch self.state {
        case .waiting, .ended: return DTLSOutput()
        case .released(let channel): return self.receiveReleased(datagram, channel)
        case .handshaking, .established:
            self.input = datagram
            defer { self.input = nil }
            return self.advance(now: now)
        }
    }

    /// Sends again what was not answered, or gives up. Waking early is harmless.
    package func timeout(now: NIODeadline) -> DTLSOutput {
        guard case .handshaking(let end) = self.state, let ssl = unsafe self.ssl else { return DTLSOutput() }
        guard now < end else { return self.fail(.timedOut) }
        OpenSSLErrors.clear()
        guard unsafe weir_DTLSv1_handle_timeout(ssl) >= 0 else { return self.fail(.timedOut) }
        self.armTimer(now: now)
        return self.takeOutput()
    }

    /// Ends the association. Returns the alert that tells the peer, if there is an association to end.
    package func close() -> [ByteBuffer] {
        defer { self.end() }
        switch self.state {
        case .waiting, .ended: return []
        case .released(let channel): return channel.closeAlert().map { [$0] } ?? []
        case .handshaking, .established:
            self.shutDown()
            return self.takeOutput().datagrams
        }
    }

    /// Gives back almost all memory. Call it once media from the peer was authenticated, which proves that the peer
    /// has our last flight: from then on only the peer's alerts are understood, and `close` still tells the peer.
    ///
    /// Does nothing before the handshake's end, and only gives back buffers under a cipher other than AES-GCM.
    package func releaseAfterHandshake() {
        guard case .established = self.state, let ssl = unsafe self.ssl else { return }
        guard let channel = unsafe DTLSAlertChannel(ssl, role: self.role, lastRecord: self.lastRecord) else { return }
        self.state = .released(channel)
        self.freeAssociation()
    }

    // MARK: - What OpenSSL calls

    func wrote(_ bytes: UnsafeRawBufferPointer) {
        unsafe self.written.append(ByteBuffer(bytes: bytes))
        if let record = unsafe DTLSRecord.last(in: bytes, epoch: 1) { self.lastRecord = record }
    }

    /// Copies the datagram that waits, and forgets it; `nil` if there is none.
    func takeInput(into room: UnsafeMutableRawBufferPointer) -> Int? {
        guard let input = self.input else { return nil }
        self.input = nil
        let count = min(input.readableBytes, room.count)
        unsafe input.withUnsafeReadableBytes { bytes in
            unsafe room.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[0..<count]))
        }
        return count
    }

    /// How long to wait for the answer to a flight, in microseconds. Spec: RFC 6347 §4.2.4.1, but for the first value:
    /// peers of WebRTC are close, and their first flights get lost while ICE ends.
    private static func nextInterval(_ ssl: OpaquePointer?, last: UInt32) -> UInt32 {
        guard let bio = unsafe SSL_get_rbio(ssl), let data = unsafe BIO_get_data(bio) else { return 1_000_000 }
        // Safety: set in `init`, and the endpoint owns the association.
        let endpoint = unsafe Unmanaged<DTLSEndpoint>.fromOpaque(data).takeUnretainedValue()
        let settings = endpoint.configuration.settings
        let next = last == 0 ? settings.firstRetransmission.nanoseconds / 1000 : Int64(last) * 2
        return UInt32(min(next, settings.longestRetransmission.nanoseconds / 1000))
    }

    // MARK: - Progress

    private func advance(now: NIODeadline) -> DTLSOutput {
        guard let ssl = unsafe self.ssl else { return DTLSOutput() }
        OpenSSLErrors.clear()
        var event: DTLSEvent?
        if case .handshaking = self.state {
            let result = unsafe SSL_do_handshake(ssl)
            guard result == 1 else {
                if let error = unsafe self.handshakeError(SSL_get_error(ssl, result)) { return self.fail(error) }
                self.armTimer(now: now)
                return self.takeOutput()
            }
            do throws(DTLSError) {
                event = .established(unsafe try self.makeKeys(ssl))
            } catch {
                self.shutDown()
                return self.fail(error)
            }
            self.state = .established
            self.nextDeadline = nil
        }
        let ending = unsafe self.readRecords(ssl)
        unsafe SSL_free_buffers(ssl)
        var output = self.takeOutput()
        if let event { output.events.append(event) }
        if let ending {
            output.events.append(ending)
            self.end()
        }
        return output
    }

    /// Reads what comes after the handshake: alerts count, the rest is dropped. A repeated last flight of the peer makes
    /// OpenSSL repeat ours.
    private func readRecords(_ ssl: OpaquePointer) -> DTLSEvent? {
        while true {
            let result = unsafe withUnsafeTemporaryAllocation(byteCount: 2048, alignment: 1) { room in
                unsafe SSL_read(ssl, room.baseAddress, Int32(room.count))
            }
            if result > 0 { continue }
            switch unsafe SSL_get_error(ssl, result) {
            case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return nil
            case SSL_ERROR_ZERO_RETURN: return .closed
            default: return .failed(.alert(reason: OpenSSLErrors.takeReason()))
            }
        }
    }

    private func handshakeError(_ code: Int32) -> DTLSError? {
        switch code {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return nil
        case SSL_ERROR_ZERO_RETURN: return .closedInHandshake
        default: return .handshake(reason: OpenSSLErrors.takeReason())
        }
    }

    private func armTimer(now: NIODeadline) {
        guard case .handshaking(let end) = self.state, let ssl = unsafe self.ssl else { return }
        let left = unsafe weir_DTLSv1_get_timeout(ssl)
        self.nextDeadline = left < 0 ? end : min(end, now + .microseconds(left))
    }

    private func takeOutput() -> DTLSOutput {
        var output = DTLSOutput()
        swap(&output.datagrams, &self.written)
        return output
    }

    private func fail(_ error: DTLSError) -> DTLSOutput {
        var output = self.takeOutput()
        output.events.append(.failed(error))
        self.end()
        return output
    }

    private func shutDown() {
        guard let ssl = unsafe self.ssl else { return }
        OpenSSLErrors.clear()
        // A write over DTLS does not bring back the buffers that were given back; a read does.
        if case .established = self.state { _ = unsafe self.readRecords(ssl) }
        OpenSSLErrors.clear()
        _ = unsafe SSL_shutdown(ssl)
    }

    private func end() {
        self.state = .ended
        self.nextDeadline = nil
        self.freeAssociation()
    }

    private func freeAssociation() {
        guard let ssl = unsafe self.ssl else { return }
        unsafe self.ssl = nil
        unsafe SSL_free(ssl)
        self.written = []
        self.input = nil
    }

    private func receiveReleased(_ datagram: ByteBuffer, _ channel: DTLSAlertChannel) -> DTLSOutput {
        var output = DTLSOutput()
        guard let alert = channel.alert(in: datagram) else { return output }
        output.events.append(alert == .closeNotify ? .closed : .failed(.alert(reason: "alert \(alert.number)")))
        self.end()
        return output
    }

    // MARK: - The end of the handshake

    private func makeKeys(_ ssl: OpaquePointer) throws(DTLSError) -> SRTPKeys {
        unsafe try self.verifyPeer(ssl)
        guard let selected = unsafe SSL_get_selected_srtp_profile(ssl),
            let profile = UInt16(exactly: unsafe selected.pointee.id).flatMap(SRTPProfile.init)
        else { throw .noCommonProfile }
        let keyLength = profile.keyLength
        let saltLength = profile.saltLength
        var material = [UInt8](repeating: 0, count: 2 * (keyLength + saltLength))
        let label = "EXTRACTOR-dtls_srtp"
        guard
            unsafe SSL_export_keying_material(ssl, &material, material.count, label, label.utf8.count, nil, 0, 0) == 1
        else { throw .library(reason: OpenSSLErrors.takeReason()) }
        defer { unsafe OPENSSL_cleanse(&material, material.count) }
        let salts = material[(2 * keyLength)...]
        let client = SRTPMasterKey(key: Array(material[..<keyLength]), salt: Array(salts.prefix(saltLength)))
        let server = SRTPMasterKey(
            key: Array(material[keyLength..<(2 * keyLength)]), salt: Array(salts.suffix(saltLength)))
        return switch self.role {
        case .client: SRTPKeys(profile: profile, local: client, remote: server)
        case .server: SRTPKeys(profile: profile, local: server, remote: client)
        }
    }

    /// Spec: RFC 8122 §5: the strongest function that was given decides.
    private func verifyPeer(_ ssl: OpaquePointer) throws(DTLSError) {
        guard let strongest = self.fingerprints.map(\.algorithm).max(by: { $0.length < $1.length }) else {
            throw .noFingerprint
        }
        guard let certificate = unsafe SSL_get1_peer_certificate(ssl) else { throw .fingerprintMismatch }
        defer { unsafe X509_free(certificate) }
        guard let actual = unsafe DTLSCertificate.fingerprint(of: certificate, strongest) else {
            throw .library(reason: OpenSSLErrors.takeReason())
        }
        let isExpected = self.fingerprints.contains { expected in
            guard expected.algorithm == strongest, expected.digest.count == actual.digest.count else { return false }
            return unsafe CRYPTO_memcmp(expected.digest, actual.digest, actual.digest.count) == 0
        }
        guard isExpected else { throw .fingerprintMismatch }
    }
}
