import DigestAuthentication
import Media
import NIOCore
import RTSP
import RTSPSessions

/// libFuzzer's entry: the first byte chooses what is done, the rest is its input.
@c(LLVMFuzzerTestOneInput)
public func fuzzRTSP(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    switch choice % 5 {
    case 0: readMessages(input)
    case 1: serve(input)
    case 2: ask(input)
    case 3: readHeaders(String(buffer: input))
    default: _ = try? RTSPSource(parsing: String(buffer: input))
    }
    return 0
}

private func elements(_ input: ByteBuffer, step: Int) -> [RTSPElement] {
    var reader = RTSPReader()
    var (rest, found) = (input, [RTSPElement]())
    do {
        while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
            reader.append(piece)
            while let element = try reader.next() { found.append(element) }
        }
    } catch {}
    return found
}

/// It does not matter where the bytes are cut, and what was written once is read as the same again.
private func readMessages(_ input: ByteBuffer) {
    let whole = elements(input, step: max(input.readableBytes, 1))
    precondition(elements(input, step: 3) == whole, "cuts change what is read")
    for element in whole {
        var wire = ByteBuffer()
        switch element {
        case .request(let request): request.write(into: &wire)
        case .response(let response): response.write(into: &wire)
        case .packet: continue
        }
        guard let again = elements(wire, step: wire.readableBytes).first else { continue }
        var once = ByteBuffer()
        var twice = ByteBuffer()
        if case .request(let request) = again { request.write(into: &once) }
        if case .response(let response) = again { response.write(into: &once) }
        guard let third = elements(once, step: max(once.readableBytes, 1)).first else { continue }
        if case .request(let request) = third { request.write(into: &twice) }
        if case .response(let response) = third { response.write(into: &twice) }
        precondition(once == twice, "a message changed by being read again")
    }
}

/// A client that says anything, and an owner that says yes to everything.
private func serve(_ input: ByteBuffer) {
    var now = NIODeadline.uptimeNanoseconds(1)
    var session = RTSPServerSession(configuration: .init(), id: "1", now: now)
    session.receive(input, now: now)
    for _ in 0..<200 {
        guard let output = session.nextOutput() else { break }
        guard case .event(let event) = output else { continue }
        switch event {
        case .requested(let request):
            if case .play = request.action {
                session.acceptDescribe(.init(text: "v=0\r\n", tracks: [.video, .audio]), now: now)
            } else {
                session.acceptAnnounce(now: now)
            }
        case .portsNeeded: session.acceptSetup(ports: .init(6_000, 6_001), ssrc: 1, now: now)
        case .play: session.acceptPlay(now: now)
        case .record: session.acceptRecord(now: now)
        case .paused, .packet: break
        }
    }
    now = now + .minutes(10)
    session.deadlineReached(now: now)
    while session.nextOutput() != nil {}
}

/// A server that says anything.
private func ask(_ input: ByteBuffer) {
    guard let url = try? RTSPURL(parsing: "rtsp://user:pw@h/live/a") else { return }
    var now = NIODeadline.uptimeNanoseconds(1)
    var session = RTSPClientSession(configuration: .init(url: url), randomness: 1, now: now)
    session.start(now: now)
    session.receive(input, now: now)
    for _ in 0..<200 {
        guard let output = session.nextOutput() else { break }
        if case .event(.portsNeeded) = output { session.provide(ports: .init(5_000, 5_001), now: now) }
    }
    now = now + .minutes(10)
    session.deadlineReached(now: now)
    session.connectionClosed()
    while session.nextOutput() != nil {}
}

/// The text as the value of each header: what is read and written is read as the same again.
private func readHeaders(_ text: String) {
    if let transports = try? RTSPTransport.parse(text) {
        let written = transports.map(\.text).joined(separator: ",")
        guard let again = try? RTSPTransport.parse(written) else { return }
        precondition(again.map(\.text).joined(separator: ",") == written, "a transport changed by being read again")
    }
    if let header = RTSPSessionHeader(parsing: text) {
        precondition(RTSPSessionHeader(parsing: header.text) == header, "a session changed by being read again")
    }
    _ = RTPInfo.parse(text)
    if let url = try? RTSPURL(parsing: text) {
        _ = (url.components, url.printable)
        precondition((try? RTSPURL(parsing: url.text))?.text == url.text, "a URL changed by being read again")
    }
    _ = RTSPURL.control(text, base: "rtsp://h/a")
    if let challenges = try? AuthenticationChallenge.parse(text) {
        for challenge in challenges {
            let written = challenge.text
            guard let again = try? AuthenticationChallenge.parse(written).first else { continue }
            precondition(again.text == written, "a challenge changed by being read again")
        }
    }
    if let credentials = try? AuthenticationCredentials(parsing: text), case .digest(let digest) = credentials {
        _ = digest.isValid(password: "x", method: "GET")
        guard let again = try? AuthenticationCredentials(parsing: credentials.text) else { return }
        precondition(again.text == credentials.text, "credentials changed by being read again")
    }
    _ = Base64.decode(text)
}
