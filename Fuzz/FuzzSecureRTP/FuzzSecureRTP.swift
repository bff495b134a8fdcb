import NIOCore
import SecureRTP

/// libFuzzer's entry: the first byte chooses what is done, the rest is its input.
@c(LLVMFuzzerTestOneInput)
public func fuzzSecureRTP(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    switch choice % 5 {
    case 0: unprotect(input, profile: SRTPProfile.allCases[Int(choice / 5) % 3])
    case 1: protect(input, profile: SRTPProfile.allCases[Int(choice / 5) % 3])
    case 2: feed(input, role: choice / 5 % 2 == 0 ? .server : .client)
    case 3: disturb(input)
    default: readFingerprint(input)
    }
    return 0
}

private func key(_ profile: SRTPProfile) -> SRTPMasterKey {
    SRTPMasterKey(
        key: [UInt8](repeating: 1, count: profile.keyLength), salt: [UInt8](repeating: 2, count: profile.saltLength))
}

/// Datagrams from the input: each a byte pair of length, then so many bytes.
private func datagrams(_ input: ByteBuffer) -> [ByteBuffer] {
    var input = input
    var datagrams: [ByteBuffer] = []
    while let length = input.readInteger(as: UInt16.self) {
        guard let datagram = input.readSlice(length: min(Int(length), input.readableBytes)) else { break }
        datagrams.append(datagram)
    }
    return datagrams
}

/// Packets that the peer did not make: none may pass.
private func unprotect(_ input: ByteBuffer, profile: SRTPProfile) {
    guard let receiver = try? SRTPReceiver(profile: profile, masterKey: key(profile)) else { return }
    for packet in datagrams(input) {
        var media = packet
        precondition((try? receiver.unprotectRTP(&media)) == nil)
        var control = packet
        precondition((try? receiver.unprotectRTCP(&control)) == nil)
    }
}

/// Packets of any form: what is protected is opened again, and is the same.
private func protect(_ input: ByteBuffer, profile: SRTPProfile) {
    guard let sender = try? SRTPSender(profile: profile, masterKey: key(profile), maximumSources: 3),
        let receiver = try? SRTPReceiver(profile: profile, masterKey: key(profile), maximumSources: 3)
    else { return }
    for plain in datagrams(input) {
        var media = plain
        if (try? sender.protectRTP(&media)) != nil {
            precondition(media.readableBytes == plain.readableBytes + profile.overhead)
            // What was received before, or is too old, is refused.
            if (try? receiver.unprotectRTP(&media)) != nil { precondition(media == plain) }
        }
        var control = plain
        if (try? sender.protectRTCP(&control)) != nil {
            precondition(control.readableBytes == plain.readableBytes + profile.controlOverhead)
            if (try? receiver.unprotectRTCP(&control)) != nil { precondition(control == plain) }
        }
    }
}

private let configuration: DTLSConfiguration = {
    do {
        return try DTLSConfiguration(certificate: .makeSelfSigned(now: 1_735_689_600, lifetime: 86_400))
    } catch {
        preconditionFailure("OpenSSL made no context: \(error)")
    }
}()

private func endpoint(_ role: DTLSRole) -> DTLSEndpoint {
    do {
        return try DTLSEndpoint(
            configuration: configuration, role: role, expecting: [configuration.certificate.fingerprint(.sha256)])
    } catch {
        preconditionFailure("OpenSSL made no association: \(error)")
    }
}

/// The input as datagrams to an endpoint that is alone: it may never be established.
private func feed(_ input: ByteBuffer, role: DTLSRole) {
    let endpoint = endpoint(role)
    let now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    _ = endpoint.start(now: now)
    for datagram in datagrams(input) {
        for event in endpoint.receive(datagram, now: now).events {
            if case .established = event { preconditionFailure("garbage established an association") }
        }
        _ = endpoint.timeout(now: now)
    }
    endpoint.releaseAfterHandshake()
    _ = endpoint.close()
}

/// A handshake of two endpoints in which the input changes datagrams: four bytes each say which one, how, where and by
/// what. If both have keys, they fit.
private func disturb(_ input: ByteBuffer) {
    var input = input
    let ends = [endpoint(.client), endpoint(.server)]
    var keys: [SRTPKeys?] = [nil, nil]
    let now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    _ = ends[1].start(now: now)
    var queue = ends[0].start(now: now).datagrams.map { (to: 1, $0) }
    var change = input.readMultipleIntegers(as: (UInt8, UInt8, UInt16, UInt8).self)
    var number: UInt8 = 0
    var budget = 200
    while !queue.isEmpty, budget > 0 {
        budget -= 1
        var (to, datagram) = queue.removeFirst()
        if let (which, how, place, by) = change, which % 16 == number % 16 {
            let at = Int(place) % max(datagram.readableBytes, 1)
            switch how % 4 {
            case 0: datagram.setInteger((datagram.getInteger(at: at, as: UInt8.self) ?? 0) ^ by, at: at)
            case 1: datagram.moveWriterIndex(to: at)
            case 2: queue.append((to, datagram))
            default: datagram.writeBytes([UInt8](repeating: by, count: Int(place) % 64))
            }
            change = input.readMultipleIntegers(as: (UInt8, UInt8, UInt16, UInt8).self)
        }
        number &+= 1
        let output = ends[to].receive(datagram, now: now)
        queue += output.datagrams.map { (1 - to, $0) }
        for event in output.events { if case .established(let made) = event { keys[to] = made } }
        if keys[to] != nil, number % 3 == 0 { ends[to].releaseAfterHandshake() }
    }
    if let client = keys[0], let server = keys[1] {
        precondition(client.local == server.remote && client.remote == server.local)
    }
    queue = ends[0].close().map { (1, $0) }
    for (to, datagram) in queue { _ = ends[to].receive(datagram, now: now) }
}

private func readFingerprint(_ input: ByteBuffer) {
    let text = String(buffer: input)
    guard let fingerprint = DTLSFingerprint(text) else { return }
    precondition(DTLSFingerprint(fingerprint.description) == fingerprint)
}
