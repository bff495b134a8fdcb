import GB28181
import Media
import NIOCore
import Synchronization

/// Something that is expected to send media: a session with a device, or what another SIP server announced.
final class MediaSlot: Sendable {
    /// The session's number; `nil` for what was announced from outside.
    let session: UInt64?
    let app: String
    let name: String
    /// What the log calls it.
    let label: String
    /// The address of the device; `nil` where it is not known.
    let deviceHost: String?

    private struct State {
        var receiver: MediaReceiver?
        /// Who sends, and when it was heard last.
        var sender: SocketAddress?
        var lastHeard = NIODeadline.uptimeNanoseconds(0)
        /// The device has answered: whatever its source is, it may come.
        var isAnswered = false
        var isClosed = false
        /// Nobody receives before that: the last one was refused.
        var pausedUntil = NIODeadline.uptimeNanoseconds(0)
    }

    private let state = Mutex(State())

    init(session: UInt64?, app: String, name: String, label: String, deviceHost: String?) {
        self.session = session
        self.app = app
        self.name = name
        self.label = label
        self.deviceHost = deviceHost
    }

    var receiver: MediaReceiver? { self.state.withLock { $0.receiver } }
    /// Somebody may receive.
    var isOpen: Bool { self.state.withLock { !$0.isClosed && NIODeadline.now() >= $0.pausedUntil } }

    /// The receiver, made by `make` if there is none. `nil` for a slot that is closed.
    func receiver(orMake make: () -> MediaReceiver?) -> MediaReceiver? {
        self.state.withLock { state in
            guard !state.isClosed, NIODeadline.now() >= state.pausedUntil else { return nil }
            if let receiver = state.receiver { return receiver }
            state.receiver = make()
            return state.receiver
        }
    }

    // MARK: Senders

    /// After such a silence the media may come from elsewhere: a device behind a NAT got another port.
    private static let silence = TimeAmount.seconds(2)

    /// Whether media from there are this session's. The first sender is; another one only after a silence, or if it has
    /// the device's address and the first one has not. So nobody who guesses a source can disturb a session.
    ///
    /// `byHost`: connections of one host are one sender.
    func admits(_ address: SocketAddress?, byHost: Bool, now: NIODeadline = .now()) -> Bool {
        guard let address else { return false }
        return self.state.withLock { state in
            if let sender = state.sender, now - state.lastHeard <= Self.silence {
                let isSame = byHost ? sender.ipAddress == address.ipAddress : sender == address
                let isDevice = self.deviceHost != nil && address.ipAddress == self.deviceHost
                guard isSame || isDevice && sender.ipAddress != self.deviceHost else { return false }
                if isSame {
                    state.lastHeard = now
                    return true
                }
            }
            state.sender = address
            state.lastHeard = now
            return true
        }
    }

    /// The device has answered the invitation.
    func answered() { self.state.withLock { $0.isAnswered = true } }
    fileprivate var isAnswered: Bool { self.state.withLock { $0.isAnswered } }

    /// How long those who were refused are not asked about again, though their packets go on.
    private static let pause = TimeAmount.seconds(5)

    /// The receiver ended; another may begin, but not at once if this one was refused.
    func ended(_ receiver: MediaReceiver, isRefused: Bool) {
        self.state.withLock { state in
            guard state.receiver === receiver else { return }
            state.receiver = nil
            if isRefused { state.pausedUntil = .now() + Self.pause }
        }
    }

    /// Nothing is expected any more. Returns who received until now.
    func close() -> MediaReceiver? {
        self.state.withLock { state in
            state.isClosed = true
            defer { state.receiver = nil }
            return state.receiver
        }
    }
}

/// Who is expected to send media, by the source in its packets. Any thread may call.
final class MediaDirectory: Sendable {
    private struct State {
        var bySource: [UInt32: MediaSlot] = [:]
        /// By the device's address, so that a stranger's packet costs no search.
        var byHost: [String: [MediaSlot]] = [:]
        /// All sources by which a slot is found.
        var sources: [ObjectIdentifier: Set<UInt32>] = [:]
        /// By the identifier of those that were announced from outside.
        var announced: [String: UInt32] = [:]
        /// Slots that a device's host stood for, with the source that was believed.
        var aliases: [ObjectIdentifier: UInt32] = [:]
        /// Sources of sessions that are over: what is on its way belongs to nothing else.
        var former: [UInt32: NIODeadline] = [:]

        mutating func note(_ slot: MediaSlot, _ ssrc: UInt32) {
            self.bySource[ssrc] = slot
            self.sources[ObjectIdentifier(slot), default: []].insert(ssrc)
        }

        mutating func retire(_ ssrc: UInt32, now: NIODeadline = .now()) {
            self.bySource[ssrc] = nil
            if self.former.count >= MediaDirectory.maximumFormer { self.former = self.former.filter { $0.value > now } }
            if self.former.count < MediaDirectory.maximumFormer { self.former[ssrc] = now + MediaDirectory.memory }
        }
    }

    /// How long, and of how many sources, it is known that they were a session's.
    private static let memory = TimeAmount.minutes(1)
    private static let maximumFormer = 10_000

    private let state = Mutex(State())

    var count: Int { self.state.withLock { $0.bySource.count } }

    /// Returns false if something else has the source.
    func add(_ slot: MediaSlot, ssrc: UInt32) -> Bool {
        self.state.withLock { state in
            guard state.bySource[ssrc] == nil else { return false }
            state.note(slot, ssrc)
            if let host = slot.deviceHost { state.byHost[host, default: []].append(slot) }
            state.former[ssrc] = nil
            return true
        }
    }

    func remove(_ slot: MediaSlot) {
        self.state.withLock { state in
            for ssrc in state.sources.removeValue(forKey: ObjectIdentifier(slot)) ?? []
            where state.bySource[ssrc] === slot {
                state.retire(ssrc)
            }
            state.aliases[ObjectIdentifier(slot)] = nil
            guard let host = slot.deviceHost, let others = state.byHost[host]?.filter({ $0 !== slot }) else { return }
            state.byHost[host] = others.isEmpty ? nil : others
        }
    }

    /// The device answered the invitation; it may have chosen another source than it was told.
    func answered(_ slot: MediaSlot, source ssrc: UInt32) {
        slot.answered()
        self.state.withLock { state in
            if state.bySource[ssrc] == nil { state.note(slot, ssrc) }
        }
    }

    /// Who sends as `ssrc`. A device that sends as something else than it was told is known by its address, if it has
    /// answered and nothing else is expected from there; it stays with one such source.
    func find(ssrc: UInt32, host: String?, now: NIODeadline = .now()) -> MediaSlot? {
        self.state.withLock { state in
            if let slot = state.bySource[ssrc] {
                // The source that was agreed upon comes after all: the other one was somebody else's.
                if let alias = state.aliases[ObjectIdentifier(slot)], alias != ssrc {
                    state.aliases[ObjectIdentifier(slot)] = nil
                    state.retire(alias, now: now)
                }
                return slot
            }
            guard let host else { return nil }
            if let end = state.former[ssrc] {
                guard end <= now else { return nil }
                state.former[ssrc] = nil
            }
            var found: MediaSlot?
            for slot in state.byHost[host] ?? [] where slot.receiver == nil {
                guard found == nil else { return nil }
                found = slot
            }
            guard let found, found.isAnswered, state.aliases[ObjectIdentifier(found)] == nil else { return nil }
            state.aliases[ObjectIdentifier(found)] = ssrc
            state.note(found, ssrc)
            return found
        }
    }

    // MARK: From outside

    enum Announcement { case added, isBusy }

    /// What another SIP server announced. Takes the place of one with the same identifier that sends nothing.
    func announce(_ id: String, ssrc: UInt32, _ slot: MediaSlot) -> Announcement {
        self.state.withLock { state in
            if let old = state.announced[id] {
                guard state.bySource[old]?.receiver == nil else { return .isBusy }
                state.retire(old)
                state.announced[id] = nil
            }
            guard state.bySource[ssrc] == nil else { return .isBusy }
            state.bySource[ssrc] = slot
            state.former[ssrc] = nil
            state.announced[id] = ssrc
            return .added
        }
    }

    func withdraw(_ id: String) -> MediaSlot? {
        self.state.withLock { state in
            guard let ssrc = state.announced.removeValue(forKey: id) else { return nil }
            defer { state.retire(ssrc) }
            return state.bySource[ssrc]
        }
    }

    /// Closes everything. Returns who received.
    func closeAll() -> [MediaReceiver] {
        let slots = self.state.withLock { state in
            defer { state = State() }
            return Array(state.bySource.values)
        }
        return slots.compactMap { $0.close() }
    }
}
