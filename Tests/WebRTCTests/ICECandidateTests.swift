import SDP
import Testing

@testable import WebRTC

struct ICECandidateTests {
    @Test("Endpoints become host candidates, UDP first, with distinct priorities and shared foundations")
    func candidates() {
        let candidates = ICECandidate.candidates(for: [
            ICEEndpoint(address: "192.0.2.1", port: 8000, transport: .tcp),
            ICEEndpoint(address: "192.0.2.1", port: 8000, transport: .udp),
            ICEEndpoint(address: "2001:db8::1", port: 8000, transport: .udp),
            ICEEndpoint(address: "192.0.2.1", port: 9000, transport: .udp),
            ICEEndpoint(address: "192.0.2.1", port: 8000, transport: .udp),
        ])
        #expect(
            candidates.map(\.value) == [
                "1 1 udp 2130706431 192.0.2.1 8000 typ host", "2 1 udp 2130706175 2001:db8::1 8000 typ host",
                "1 1 udp 2130705919 192.0.2.1 9000 typ host",
                "3 1 tcp \(candidates[3].priority) 192.0.2.1 8000 typ host tcptype passive",
            ])
        #expect(Set(candidates.map(\.priority)).count == 4)
        // RFC 6544 §4.2: passive host candidates have direction preference 4.
        #expect(candidates[3].priority >> 24 == 90 && candidates[3].priority >> 21 & 7 == 4)
        #expect(candidates[3].priority & 0xFF == 255)
        #expect(
            ICECandidate.lines(for: [ICEEndpoint(address: "a.example", port: 1, transport: .udp)])
                == ["1 1 udp 2130706431 a.example 1 typ host"])
    }

    @Test(
        "Lines of browsers are read",
        arguments: [
            "842163049 1 udp 1677729535 198.51.100.4 40402 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag x network-cost 999",
            "1 1 UDP 2122252543 7c0fe4a2-93b1-4a6d-bb0c-f1a7d3f2d8a1.local 50012 typ host",
            "f957a2332b1715da3b0ef8ba684454eb 1 udp 2130706431 fd00::2 45394 typ host",
            "2 1 TCP 1015021823 192.0.2.2 9 typ host tcptype active", "9 2 udp 1 192.0.2.2 9 typ relay",
        ])
    func parses(line: String) throws {
        let candidate = try #require(ICECandidate(parsing: line))
        #expect(ICECandidate(parsing: candidate.value) == candidate)
        #expect(candidate.isHidden == line.contains(".local"))
        #expect(candidate.tcpKind == (line.contains("tcptype") ? .active : nil))
        #expect((candidate.kind == .serverReflexive) == line.contains("srflx"))
    }

    @Test(
        "Malformed lines are none",
        arguments: [
            "", "1", "1 1 udp 1 192.0.2.2 9 typ", "1 1 udp 1 192.0.2.2 9 host host", "1 0 udp 1 192.0.2.2 9 typ host",
            "1 1 sctp 1 192.0.2.2 9 typ host", "1 1 udp 4294967296 192.0.2.2 9 typ host",
            "1 1 udp x 192.0.2.2 9 typ host",
            "1 1 udp 1 192.0.2.2 65536 typ host", "1 1 udp 1 192.0.2.2 9 typ other",
            "123456789012345678901234567890123 1 udp 1 192.0.2.2 9 typ host",
        ])
    func refuses(line: String) {
        #expect(ICECandidate(parsing: line) == nil)
    }

    @Test("Credentials of random bytes are valid and tell bytes apart")
    func credentials() {
        let zero = ICECredentials(randomBytes: [UInt8](repeating: 0, count: 32))
        #expect(zero.ufrag == "AAAAAAAA" && zero.password == String(repeating: "A", count: 24))
        for byte in 0...255 as ClosedRange<UInt8> {
            let other = ICECredentials(randomBytes: [byte] + [UInt8](repeating: 0, count: 31))
            #expect(other.isValid && (other == zero) == (byte & 63 == 0))
        }
        #expect(!ICECredentials(ufrag: "abc", password: zero.password).isValid)
        #expect(!ICECredentials(ufrag: "abcd", password: String(repeating: "A", count: 21)).isValid)
        #expect(!ICECredentials(ufrag: "ab d", password: zero.password).isValid)
        #expect(!ICECredentials(ufrag: String(repeating: "A", count: 257), password: zero.password).isValid)
    }

    @Test("A PATCH with the known credentials brings candidates, with others a restart")
    func trickle() throws {
        let current = ICECredentials(ufrag: "EsAw", password: "P2uYro0UCOQ4zxjKXaWCBui1")
        let line = "candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1"
        let trickle =
            "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=ice-ufrag:EsAw\r\n"
            + "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=\(line)\r\na=candidate:broken\r\na=end-of-candidates\r\n"
        let candidate = try #require(ICECandidate(parsing: String(line.dropFirst(10))))
        #expect(try TrickleRequest(parsing: trickle, current: current) == .candidates([candidate], isEnd: true))
        let bare = "m=audio 9 X 0\r\na=mid:0\r\na=\(line)\r\n"
        #expect(try TrickleRequest(parsing: bare, current: current) == .candidates([candidate], isEnd: false))
        let restart = trickle.replacing("ice-ufrag:EsAw", with: "ice-ufrag:Other")
        let new = ICECredentials(ufrag: "Other", password: current.password)
        #expect(try TrickleRequest(parsing: restart, current: current) == .restart(new, candidates: [candidate]))
        let many = bare + String(repeating: "a=\(line)\r\n", count: 200)
        guard case .candidates(let bounded, _) = try TrickleRequest(parsing: many, current: current) else {
            Issue.record("no candidates")
            return
        }
        #expect(bounded.count == TrickleRequest.maximumCandidates)
    }

    @Test("A PATCH that is malformed or names half of new credentials is refused")
    func badTrickle() {
        let current = ICECredentials(ufrag: "EsAw", password: "P2uYro0UCOQ4zxjKXaWCBui1")
        #expect(throws: TrickleError.malformed(.empty)) { try TrickleRequest(parsing: "", current: current) }
        #expect(throws: TrickleError.invalidCredentials) {
            try TrickleRequest(parsing: "a=ice-ufrag:Other\r\n", current: current)
        }
        #expect(throws: TrickleError.invalidCredentials) {
            try TrickleRequest(parsing: "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui2\r\n", current: current)
        }
        #expect(throws: TrickleError.invalidCredentials) {
            try TrickleRequest(parsing: "a=ice-ufrag:Other\r\na=ice-pwd:short\r\n", current: current)
        }
    }

    @Test("The answer to a restart has the new credentials and all candidates")
    func restartAnswer() throws {
        let answer = try Ours.publish(Offers.chromiumPublish).answer
        let new = ICECredentials(ufrag: "newU", password: "newPassword0123456789012")
        let fragment = TrickleFragment(
            answeringRestartWith: new, candidates: Ours.description().candidates, of: answer)
        let text = fragment.text
        #expect(try TrickleFragment(parsing: text) == fragment)
        #expect(fragment.attributes.has("ice-lite") && fragment.attributes.first("group") == "BUNDLE 0 1")
        #expect(fragment.ufrag == "newU" && fragment.password == new.password)
        #expect(fragment.media.count == 1 && fragment.media.first?.mid == "0")
        #expect(fragment.candidates.count == 2 && fragment.isEndOfCandidates)
    }
}
