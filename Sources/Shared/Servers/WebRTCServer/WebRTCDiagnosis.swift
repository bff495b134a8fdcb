import DequeModule
import NIOCore
import Synchronization
package import WebRTC

/// What became of a session: which pairs of addresses were tried, how far the handshake came, and what flows.
package struct WebRTCDiagnosis: Sendable, Hashable, Encodable {
    /// `publish` or `play`.
    package var kind: String
    /// `connecting` until a path is selected, `handshaking` until DTLS gave keys, `established`, `ended`.
    package var phase: String
    /// Why it ended; `nil` while it lives.
    package var end: String?
    package var ageMillis: Int64
    /// From the answer to the keys; `nil` before.
    package var establishedMillis: Int64?
    package var srtpProfile: String?
    /// The server sent the first message of DTLS.
    package var isDTLSClient: Bool
    /// Packets of known senders that could not be understood or decrypted.
    package var refusedPackets: Int
    package var receivedBytes: UInt64
    package var sentBytes: UInt64
    /// `client_id` of hooks and the API.
    package var account: String
    package var ice: ICEDiagnosis
    package var media: WebRTCMediaDiagnosis
}

/// Counters of what a session carries, by names that the API shows.
package struct WebRTCMediaDiagnosis: Sendable, Hashable, Encodable {
    package var codecs: [String] = []
    package var counters: [String: Int64] = [:]
    /// Texts such as why a track is not sent.
    package var notes: [String] = []
}

/// The diagnoses of sessions that have ended, for those who ask why: the newest ones, for some minutes.
final class DiagnosisArchive: Sendable {
    private struct Entry {
        let id: String
        let diagnosis: WebRTCDiagnosis
        let until: NIODeadline
    }

    static let maximumCount = 200
    private static let lifetime = TimeAmount.minutes(5)

    private let entries = Mutex(Deque<Entry>())

    func add(_ diagnosis: WebRTCDiagnosis, id: String, now: NIODeadline = .now()) {
        self.entries.withLock { entries in
            entries.append(Entry(id: id, diagnosis: diagnosis, until: now + Self.lifetime))
            while entries.count > Self.maximumCount || entries.first.map({ $0.until <= now }) == true {
                entries.removeFirst()
            }
        }
    }

    func diagnosis(id: String, now: NIODeadline = .now()) -> WebRTCDiagnosis? {
        self.entries.withLock { entries in
            entries.last { $0.id == id && $0.until > now }?.diagnosis
        }
    }

    var count: Int { self.entries.withLock { $0.count } }
}
