import NIOCore
import STUN
import Testing

@testable import WebRTC

struct ICEAgentTests {
    private static let a = Peer.path(1000)
    private static let b = Peer.path(2000)
    private static let tcp = Peer.path(3000, .tcp)

    private func agent(_ change: (inout ICEConfiguration) -> Void = { _ in }) -> ICEAgent {
        var configuration = ICEConfiguration()
        change(&configuration)
        return ICEAgent(local: Ours.ice, remote: Peer.credentials, configuration: configuration, now: .millis(0))
    }

    private func failure(_ outputs: [ICEOutput]) throws -> STUNErrorCode? {
        try outputs.datagrams.first.flatMap { try STUNMessage(parsing: $0).errorCode }
    }

    @Test("A check is answered with the address it came from, signed with our password")
    func success() throws {
        var agent = self.agent()
        let outputs = agent.receive(stun: Peer.check(transaction: 5), from: Self.a, now: .millis(1))
        let response = try #require(outputs.datagrams.first)
        let message = try STUNMessage(parsing: response)
        #expect(outputs == [.transmit(response, Self.a)])
        #expect(message.messageClass == .success && message.transactionID.low == 5)
        #expect(message.xorMappedAddress == Self.a.remote)
        #expect(message.hasValidIntegrity(in: response, password: Ours.ice.password))
        #expect(agent.isValid(Self.a) && agent.selectedPath == nil)
        #expect(!agent.isValid(Self.b))
    }

    @Test("A nomination connects, once")
    func nomination() {
        var agent = self.agent()
        #expect(agent.receive(stun: Peer.check(), from: Self.a, now: .millis(1)).events.isEmpty)
        let outputs = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(2))
        #expect(outputs.events == [.connected(Self.a)])
        #expect(agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(3)).events.isEmpty)
        #expect(agent.selectedPath == Self.a)
    }

    @Test("IPv6 and TCP paths connect, too")
    func otherPaths() throws {
        let six = ICEPath(
            transport: .udp, local: try SocketAddress(ipAddress: "2001:db8::9", port: 8000),
            remote: try SocketAddress(ipAddress: "2001:db8::7", port: 4))
        for path in [six, Self.tcp] {
            var agent = self.agent()
            let outputs = agent.receive(stun: Peer.check(nominate: true), from: path, now: .millis(1))
            #expect(outputs.events == [.connected(path)])
            #expect(try STUNMessage(parsing: outputs.datagrams[0]).xorMappedAddress == path.remote)
        }
    }

    @Test("Requests without user name or integrity are bad, those of strangers unauthenticated")
    func refusals() throws {
        var agent = self.agent()
        let id = STUNTransactionID(high: 1, low: 1)
        let padding = STUNAttribute(.software, ByteBuffer(repeating: 0, count: 24))
        let unsigned = STUNMessage(.request, transactionID: id, attributes: [.username("ourUfrag:x"), padding])
        #expect(
            try self.failure(agent.receive(stun: unsigned.write(password: nil), from: Self.a, now: .millis(0)))
                == .badRequest)
        let unnamed = STUNMessage(.request, transactionID: id, attributes: [padding]).write(password: "x")
        #expect(try self.failure(agent.receive(stun: unnamed, from: Self.a, now: .millis(0))) == .badRequest)
        let stranger = Peer.check(to: ICECredentials(ufrag: "else", password: "x"))
        #expect(try self.failure(agent.receive(stun: stranger, from: Self.a, now: .millis(0))) == .unauthenticated)
        let wrong = Peer.check(nominate: true, password: "wrongPassword")
        let outputs = agent.receive(stun: wrong, from: Self.a, now: .millis(0))
        #expect(try self.failure(outputs) == .unauthenticated)
        #expect(outputs.events.isEmpty && !agent.isValid(Self.a))
        let pairs = agent.diagnosis(now: .millis(10)).pairs
        #expect(pairs.map(\.state) == [.refused])
        #expect(pairs.first?.refusedChecks == 4 && pairs.first?.lastRefusal == .wrongPassword)
    }

    @Test("A controlled peer gets a role conflict, signed, and controls then")
    func roleConflict() throws {
        var agent = self.agent()
        let conflict = Peer.check(nominate: true, adding: [.iceControlled(tieBreaker: .max)])
        let outputs = agent.receive(stun: conflict, from: Self.a, now: .millis(0))
        #expect(try self.failure(outputs) == .roleConflict)
        let response = try STUNMessage(parsing: outputs.datagrams[0])
        #expect(response.hasValidIntegrity(in: outputs.datagrams[0], password: Ours.ice.password))
        #expect(outputs.events.isEmpty)
        let next = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(1))
        #expect(next.events == [.connected(Self.a)])
    }

    @Test("An attribute that must be understood and is not is named")
    func unknownAttribute() throws {
        var agent = self.agent()
        let strange = STUNAttribute(STUNAttributeType(rawValue: 0x7ABC))
        let outputs = agent.receive(stun: Peer.check(adding: [strange]), from: Self.a, now: .millis(0))
        #expect(try self.failure(outputs) == .unknownAttribute)
        let message = try STUNMessage(parsing: outputs.datagrams[0])
        #expect(message.attribute(.unknownAttributes)?.value == ByteBuffer(bytes: [0x7A, 0xBC]))
    }

    @Test("Nothing unauthenticated is answered with more bytes than it had")
    func amplification() {
        var agent = self.agent()
        let id = STUNTransactionID(high: 1, low: 1)
        let empty = STUNMessage(.request, transactionID: id).write(password: nil)
        #expect(agent.receive(stun: empty, from: Self.a, now: .millis(0)).isEmpty)
        for length in 0..<60 {
            let value = ByteBuffer(repeating: 0, count: length)
            let request = STUNMessage(.request, transactionID: id, attributes: [STUNAttribute(.software, value)])
                .write(password: nil)
            for datagram in agent.receive(stun: request, from: Self.a, now: .millis(0)).datagrams {
                #expect(datagram.readableBytes <= request.readableBytes)
            }
        }
    }

    @Test("Responses, indications, other methods and garbage are not answered")
    func silence() {
        var agent = self.agent()
        let id = STUNTransactionID(high: 1, low: 1)
        for messageClass in [STUNMessage.Class.success, .failure, .indication] {
            let message = STUNMessage(messageClass, transactionID: id, attributes: [.username("ourUfrag:peer")])
            #expect(
                agent.receive(stun: message.write(password: Ours.ice.password), from: Self.a, now: .millis(0)).isEmpty)
        }
        let other = STUNMessage(.request, method: .init(rawValue: 3), transactionID: id, attributes: [])
        #expect(agent.receive(stun: other.write(password: Ours.ice.password), from: Self.a, now: .millis(0)).isEmpty)
        #expect(agent.receive(stun: ByteBuffer(string: "hello"), from: Self.a, now: .millis(0)).isEmpty)
        #expect(!agent.isValid(Self.a))
        #expect(agent.diagnosis(now: .millis(0)).refusedChecks == 1)
    }

    @Test("A peer that moves and nominates its new address is followed")
    func addressChange() {
        var agent = self.agent()
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(0))
        _ = agent.receivedMedia(on: Self.a, now: .millis(100))
        #expect(agent.receive(stun: Peer.check(), from: Self.b, now: .millis(110)).events.isEmpty)
        let outputs = agent.receive(stun: Peer.check(nominate: true), from: Self.b, now: .millis(120))
        #expect(outputs.events == [.selectedPathChanged(from: Self.a, to: Self.b)])
        // Packets that were under way do not move it back, nor does a check without nomination.
        #expect(agent.receivedMedia(on: Self.a, now: .millis(130)).isEmpty)
        #expect(agent.receive(stun: Peer.check(), from: Self.a, now: .millis(140)).events.isEmpty)
        #expect(agent.selectedPath == Self.b)
        // And it may come back.
        let back = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(200))
        #expect(back.events == [.selectedPathChanged(from: Self.b, to: Self.a)])
        #expect(agent.diagnosis(now: .millis(200)).pathChanges == 2)
    }

    @Test("A peer that nominates every pair with every check does not make the session flap")
    func aggressiveNomination() {
        var agent = self.agent()
        var changes = 0
        for step in 0..<40 {
            let path = step % 2 == 0 ? Self.a : Self.b
            changes +=
                agent.receive(stun: Peer.check(nominate: true), from: path, now: .millis(Int64(step) * 500))
                .events.count
        }
        #expect(changes == 2)
        #expect(agent.selectedPath == Self.b)
        // Its media says what it means.
        _ = agent.receivedMedia(on: Self.b, now: .millis(20_000))
        #expect(agent.receivedMedia(on: Self.a, now: .millis(20_100)).isEmpty)
        #expect(
            agent.receivedMedia(on: Self.a, now: .millis(20_500)) == [.selectedPathChanged(from: Self.b, to: Self.a)])
    }

    /// An agent that followed its peer as often as it may: to port `n` at `n` tenths of a second, to 10 at last.
    private func restless(_ change: (inout ICEConfiguration) -> Void = { _ in }) -> ICEAgent {
        var agent = self.agent(change)
        #expect(
            agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(0)).events
                == [.connected(Self.a)])
        for port in 1...10 {
            let outputs = agent.receive(
                stun: Peer.check(nominate: true), from: Peer.path(port), now: .millis(Int64(port) * 100))
            #expect(
                outputs.events == [
                    .selectedPathChanged(from: port == 1 ? Self.a : Peer.path(port - 1), to: Peer.path(port))
                ])
        }
        return agent
    }

    @Test("After ten changes in ten seconds the path stays until there is room, and goes to where the peer wanted last")
    func boundedChanges() {
        var agent = self.restless()
        #expect(agent.nextDeadline == .millis(31_000))
        for port in [11, 12] {
            let outputs = agent.receive(
                stun: Peer.check(nominate: true), from: Peer.path(port), now: .millis(Int64(port) * 100))
            // It is answered, and nothing else.
            #expect(outputs.datagrams.count == 1 && outputs.events.isEmpty)
        }
        #expect(agent.selectedPath == Peer.path(10))
        #expect(agent.nextDeadline == .millis(10_100))
        #expect(agent.timeout(now: .millis(10_099)).isEmpty)
        #expect(
            agent.timeout(now: .millis(10_100)) == [.selectedPathChanged(from: Peer.path(10), to: Peer.path(12))])
        #expect(agent.nextDeadline == .millis(31_200) && agent.timeout(now: .millis(10_199)).isEmpty)
        // The second change was at 200 ms, and so on.
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.b, now: .millis(10_150))
        #expect(agent.selectedPath == Peer.path(12) && agent.nextDeadline == .millis(10_200))
        #expect(
            agent.receive(stun: Peer.check(nominate: true), from: Peer.path(20), now: .millis(10_200)).events
                == [.selectedPathChanged(from: Peer.path(12), to: Peer.path(20))])
        #expect(agent.nextDeadline == .millis(40_200))
        #expect(agent.diagnosis(now: .millis(10_200)).pathChanges == 12)
        // Once it has been quiet, all ten are there again.
        for port in 30..<40 {
            let now = NIODeadline.millis(21_000 + Int64(port))
            #expect(agent.receive(stun: Peer.check(nominate: true), from: Peer.path(port), now: now).events.count == 1)
        }
        _ = agent.receive(stun: Peer.check(nominate: true), from: Peer.path(40), now: .millis(21_040))
        #expect(agent.selectedPath == Peer.path(39))
    }

    @Test("A wish for which there was no room is forgotten when the peer comes back, or its path does not last")
    func forgottenWish() {
        var agent = self.restless()
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.b, now: .millis(1_100))
        _ = agent.receive(stun: Peer.check(), from: Peer.path(10), now: .millis(1_200))
        #expect(agent.nextDeadline == .millis(10_100))
        _ = agent.receive(stun: Peer.check(nominate: true), from: Peer.path(10), now: .millis(1_300))
        #expect(agent.nextDeadline == .millis(31_300))
        #expect(agent.timeout(now: .millis(10_100)).isEmpty && agent.selectedPath == Peer.path(10))
        var other = self.restless { $0.maximumPaths = 2 }
        _ = other.receive(stun: Peer.check(nominate: true), from: Self.b, now: .millis(1_100))
        #expect(other.nextDeadline == .millis(10_100))
        _ = other.receive(stun: Peer.check(), from: Peer.path(11), now: .millis(1_200))
        #expect(!other.isValid(Self.b) && other.nextDeadline == .millis(31_200))
        #expect(other.timeout(now: .millis(10_100)).isEmpty)
        var restarted = self.restless()
        _ = restarted.receive(stun: Peer.check(nominate: true), from: Self.b, now: .millis(1_100))
        restarted.restart(local: Ours.ice, remote: nil, now: .millis(1_200))
        #expect(restarted.nextDeadline == .millis(31_100))
    }

    @Test("Media moves a restless session no more often than nominations do")
    func boundedByMedia() {
        var agent = self.restless()
        _ = agent.receive(stun: Peer.check(), from: Self.b, now: .millis(2_000))
        #expect(agent.receivedMedia(on: Self.b, now: .millis(10_099)).isEmpty)
        #expect(
            agent.receivedMedia(on: Self.b, now: .millis(10_100)) == [
                .selectedPathChanged(from: Peer.path(10), to: Self.b)
            ])
    }

    @Test("A restless session whose connection ends waits for room, too, and silence ends it meanwhile")
    func boundedAtClose() {
        var agent = self.restless()
        #expect(agent.pathClosed(Peer.path(10), now: .millis(1_500)) == [.selectedPathLost(Peer.path(10))])
        #expect(agent.selectedPath == nil && agent.receivedMedia(on: Peer.path(9), now: .millis(1_600)).isEmpty)
        #expect(agent.nextDeadline == .millis(10_100))
        #expect(agent.timeout(now: .millis(10_100)) == [.selectedPathChanged(from: nil, to: Peer.path(9))])
        var silent = self.restless { $0.consentTimeout = .seconds(5) }
        _ = silent.receive(stun: Peer.check(nominate: true), from: Self.b, now: .millis(2_000))
        #expect(silent.nextDeadline == .millis(7_000))
        #expect(silent.timeout(now: .millis(11_000)) == [.failed(.consentExpired)])
    }

    @Test("UDP that works is not given up for TCP only because both are nominated")
    func prefersUDP() {
        var agent = self.agent()
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(0))
        #expect(agent.receive(stun: Peer.check(nominate: true), from: Self.tcp, now: .millis(10)).events.isEmpty)
        // Silence of UDP changes that.
        let outputs = agent.receive(stun: Peer.check(nominate: true), from: Self.tcp, now: .millis(7000))
        #expect(outputs.events == [.selectedPathChanged(from: Self.a, to: Self.tcp)])
        // And TCP gives way to UDP at once.
        let back = agent.receive(stun: Peer.check(nominate: true), from: Self.b, now: .millis(7010))
        #expect(back.events == [.selectedPathChanged(from: Self.tcp, to: Self.b)])
    }

    @Test("A peer that nominates once and keeps alive without nominating stays where it is")
    func regularNomination() {
        var agent = self.agent()
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(0))
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.b, now: .millis(100))
        for step in 0..<10 {
            let now = NIODeadline.millis(200 + Int64(step) * 100)
            #expect(agent.receive(stun: Peer.check(), from: Self.b, now: now).events.isEmpty)
        }
        #expect(agent.selectedPath == Self.b)
    }

    @Test("A peer that takes its nomination back means the other nominated pair")
    func withdrawnNomination() {
        var agent = self.agent()
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(0))
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.tcp, now: .millis(10))
        #expect(agent.selectedPath == Self.a)
        let outputs = agent.receive(stun: Peer.check(), from: Self.a, now: .millis(20))
        #expect(outputs.events == [.selectedPathChanged(from: Self.a, to: Self.tcp)])
    }

    @Test("Media on a checked path connects a peer that does not nominate, media on an unchecked one does nothing")
    func mediaConnects() {
        var agent = self.agent()
        #expect(agent.receivedMedia(on: Self.a, now: .millis(0)).isEmpty)
        _ = agent.receive(stun: Peer.check(), from: Self.a, now: .millis(1))
        #expect(agent.receivedMedia(on: Self.b, now: .millis(2)).isEmpty)
        #expect(agent.receivedMedia(on: Self.a, now: .millis(3)) == [.connected(Self.a)])
    }

    @Test("Silence ends consent after its time, and both checks and media keep it")
    func consent() {
        var agent = self.agent()
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(1000))
        #expect(agent.nextDeadline == .millis(31_000))
        #expect(agent.timeout(now: .millis(30_999)).isEmpty)
        _ = agent.receivedMedia(on: Self.a, now: .millis(20_000))
        #expect(agent.timeout(now: .millis(31_000)).isEmpty)
        _ = agent.receive(stun: Peer.check(), from: Self.a, now: .millis(40_000))
        // Refused checks and garbage keep nothing alive.
        _ = agent.receive(stun: Peer.check(password: "wrong"), from: Self.a, now: .millis(60_000))
        #expect(agent.nextDeadline == .millis(70_000))
        #expect(agent.timeout(now: .millis(70_000)) == [.failed(.consentExpired)])
        #expect(agent.nextDeadline == nil && agent.timeout(now: .millis(80_000)).isEmpty)
        #expect(agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(80_000)).isEmpty)
        #expect(agent.receivedMedia(on: Self.a, now: .millis(80_000)).isEmpty)
        #expect(agent.diagnosis(now: .millis(80_000)).state == .failed)
    }

    @Test("A peer that never connects fails with what is known of it")
    func neverConnected() {
        var silent = self.agent()
        #expect(silent.timeout(now: .millis(29_999)).isEmpty)
        #expect(silent.timeout(now: .millis(30_000)) == [.failed(.noChecks)])
        var refused = self.agent { $0.connectTimeout = .seconds(5) }
        _ = refused.receive(stun: Peer.check(password: "wrong"), from: Self.a, now: .millis(4000))
        #expect(refused.timeout(now: .millis(5000)) == [.failed(.allChecksRefused)])
        var checked = self.agent()
        _ = checked.receive(stun: Peer.check(), from: Self.a, now: .millis(29_000))
        #expect(checked.timeout(now: .millis(30_000)) == [.failed(.neverNominated)])
        #expect(checked.diagnosis(now: .millis(30_000)).failure == .neverNominated)
    }

    @Test("When a TCP connection ends, the session goes on elsewhere or waits")
    func closedConnection() {
        var agent = self.agent()
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.tcp, now: .millis(0))
        _ = agent.receive(stun: Peer.check(), from: Self.b, now: .millis(1))
        #expect(agent.pathClosed(Self.tcp, now: .millis(2)) == [.selectedPathChanged(from: Self.tcp, to: Self.b)])
        #expect(agent.pathClosed(Self.tcp, now: .millis(3)).isEmpty)
        #expect(agent.pathClosed(Self.b, now: .millis(4)) == [.selectedPathLost(Self.b)])
        #expect(agent.selectedPath == nil)
        let outputs = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(5))
        #expect(outputs.events == [.selectedPathChanged(from: nil, to: Self.a)])
    }

    @Test("After a restart both credentials count until the new ones were used, and the path stays")
    func restart() throws {
        var agent = self.agent()
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(0))
        let new = ICECredentials(ufrag: "newUfrag", password: "newPassword0123456789012")
        agent.restart(local: new, remote: ICECredentials(ufrag: "p2", password: "x"), now: .millis(10))
        #expect(agent.selectedPath == Self.a && agent.local == new)
        let old = agent.receive(stun: Peer.check(), from: Self.a, now: .millis(20))
        let response = try #require(old.datagrams.first)
        #expect(try STUNMessage(parsing: response).hasValidIntegrity(in: response, password: Ours.ice.password))
        let outputs = agent.receive(stun: Peer.check(nominate: true, to: new), from: Self.b, now: .millis(30))
        #expect(outputs.events == [.selectedPathChanged(from: Self.a, to: Self.b)])
        let signed = try #require(outputs.datagrams.first)
        #expect(try STUNMessage(parsing: signed).hasValidIntegrity(in: signed, password: new.password))
        let late = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(40))
        #expect(try self.failure(late) == .unauthenticated)
        #expect(agent.diagnosis(now: .millis(40)).restarts == 1)
    }

    @Test("Any number of addresses is answered, a bounded number is kept, and the selected one stays")
    func bounds() {
        var agent = self.agent { configuration in
            configuration.maximumPaths = 4
            configuration.maximumRefusedPaths = 3
            configuration.maximumRemoteCandidates = 2
        }
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(0))
        for port in 1..<200 {
            let now = NIODeadline.millis(Int64(port))
            #expect(agent.receive(stun: Peer.check(), from: Peer.path(port), now: now).datagrams.count == 1)
            _ = agent.receive(stun: Peer.check(password: "wrong"), from: Peer.path(port + 5000), now: now)
        }
        #expect(agent.validPaths.count == 4)
        #expect(Set(agent.validPaths) == Set([Self.a, Peer.path(197), Peer.path(198), Peer.path(199)]))
        #expect(agent.selectedPath == Self.a)
        let candidate = ICECandidate(foundation: "1", transport: .udp, priority: 1, address: "x", port: 1)
        var other = candidate
        other.port = 2
        agent.addRemoteCandidates([candidate, candidate])
        agent.addRemoteCandidates([candidate, other, other])
        let diagnosis = agent.diagnosis(now: .millis(200))
        #expect(diagnosis.pairs.count == 7 && diagnosis.refusedChecks == 199)
        #expect(diagnosis.remoteCandidates == [candidate.value, other.value])
        var single = self.agent { $0.maximumPaths = 1 }
        _ = single.receive(stun: Peer.check(nominate: true), from: Self.a, now: .millis(0))
        let moved = single.receive(stun: Peer.check(nominate: true), from: Self.b, now: .millis(1))
        #expect(moved.events == [.selectedPathChanged(from: nil, to: Self.b)])
    }

    @Test("The diagnosis tells what was tried")
    func diagnosis() {
        var agent = self.agent()
        #expect(agent.diagnosis(now: .millis(5)).state == .waiting)
        agent.addRemoteCandidates([
            ICECandidate(
                foundation: "1", transport: .udp, priority: 1, address: "198.51.100.7", port: 1000,
                kind: .serverReflexive),
            ICECandidate(
                foundation: "2", transport: .tcp, priority: 1, address: "198.51.100.7", port: 9, tcpKind: .active),
        ])
        _ = agent.receive(stun: Peer.check(password: "wrong"), from: Self.a, now: .millis(10))
        _ = agent.receive(stun: Peer.check(), from: Self.a, now: .millis(20))
        #expect(agent.diagnosis(now: .millis(25)).state == .checking)
        _ = agent.receive(stun: Peer.check(nominate: true), from: Self.tcp, now: .millis(30))
        _ = agent.receive(stun: Peer.check(), from: Self.b, now: .millis(40))
        _ = agent.receivedMedia(on: Self.tcp, now: .millis(50))
        let diagnosis = agent.diagnosis(now: .millis(100))
        #expect(diagnosis.state == .connected && diagnosis.connectMillis == 30 && diagnosis.ageMillis == 100)
        #expect(diagnosis.pairs.map(\.state) == [.checked, .selected, .checked])
        #expect(diagnosis.pairs.map(\.remoteKind) == [.serverReflexive, .host, .peerReflexive])
        #expect(diagnosis.pairs.map(\.hasMedia) == [false, true, false])
        let first = diagnosis.pairs[0]
        #expect(first.local == "192.0.2.9:8000" && first.remote == "198.51.100.7:1000")
        #expect(first.checks == 1 && first.refusedChecks == 1 && first.lastRefusal == .wrongPassword)
        #expect(first.firstSeenMillis == 80 && first.lastSeenMillis == 80)
    }
}
