import NIOCore
import Synchronization

/// A session, as those see it who are not on its event loop. Any thread may use it.
final class SessionHandle: Sendable {
    /// Never used again in this process.
    let number: UInt64
    /// 128 random bits: names the session to those who made it.
    let id: String
    /// The worker that has the session, by its place.
    private let owner: Atomic<Int>

    init(number: UInt64, id: String, owner: Int) {
        self.number = number
        self.id = id
        self.owner = Atomic(owner)
    }

    var ownerIndex: Int {
        get { self.owner.load(ordering: .acquiring) }
        set { self.owner.store(newValue, ordering: .releasing) }
    }
}

/// Finds the sessions of all event loops: by their names, and where a packet comes to a loop that does not know its
/// sender.
///
/// Loops look here only for what they do not have themselves, so one lock serves.
final class SessionDirectory: Sendable {
    private struct State {
        var byID: [String: SessionHandle] = [:]
        /// By the username fragment that the server gave: both generations while ICE restarts.
        var byName: [String: SessionHandle] = [:]
        var byPath: [PathKey: SessionHandle] = [:]
        /// Sessions that are being made, and have no handle yet.
        var reserved = 0
        var isClosed = false
    }

    enum Reservation {
        case granted, full, closed
    }

    private let state = Mutex(State())
    private let numbers = Atomic<UInt64>(0)
    private let maximum: Int

    init(maximum: Int) { self.maximum = maximum }

    /// Sessions that live.
    var count: Int { self.state.withLock { $0.byID.count } }

    /// Room for a session. `release`, or `add` that succeeds, must follow a grant.
    func reserve() -> Reservation {
        self.state.withLock { state in
            guard !state.isClosed else { return .closed }
            guard state.byID.count + state.reserved < self.maximum else { return .full }
            state.reserved += 1
            return .granted
        }
    }

    func release() { self.state.withLock { $0.reserved -= 1 } }

    /// No more sessions.
    func close() { self.state.withLock { $0.isClosed = true } }

    func makeHandle(owner: Int) -> SessionHandle {
        let number = self.numbers.wrappingAdd(1, ordering: .relaxed).newValue
        return SessionHandle(number: number, id: Randomness.text(count: 26), owner: owner)
    }

    /// Takes a session in whose place was reserved. Returns false if the server was closed meanwhile; the place is still
    /// reserved then.
    func add(_ handle: SessionHandle, name: String) -> Bool {
        self.state.withLock { state in
            guard !state.isClosed else { return false }
            state.reserved -= 1
            state.byID[handle.id] = handle
            state.byName[name] = handle
            return true
        }
    }

    func add(name: String, of handle: SessionHandle) {
        self.state.withLock { state in
            guard state.byID[handle.id] === handle else { return }
            state.byName[name] = handle
        }
    }

    func add(path: PathKey, of handle: SessionHandle) {
        self.state.withLock { state in
            guard state.byID[handle.id] === handle else { return }
            state.byPath[path] = handle
        }
    }

    func remove(_ handle: SessionHandle, names: [String], paths: [PathKey]) {
        self.state.withLock { state in
            state.byID[handle.id] = nil
            for name in names where state.byName[name] === handle { state.byName[name] = nil }
            for path in paths where state.byPath[path] === handle { state.byPath[path] = nil }
        }
    }

    func remove(name: String, of handle: SessionHandle) {
        self.state.withLock { state in
            if state.byName[name] === handle { state.byName[name] = nil }
        }
    }

    func remove(path: PathKey, of handle: SessionHandle) {
        self.state.withLock { state in
            if state.byPath[path] === handle { state.byPath[path] = nil }
        }
    }

    func session(id: String) -> SessionHandle? { self.state.withLock { $0.byID[id] } }
    func session(name: String) -> SessionHandle? { self.state.withLock { $0.byName[name] } }
    func session(path: PathKey) -> SessionHandle? { self.state.withLock { $0.byPath[path] } }
    var handles: [SessionHandle] { self.state.withLock { Array($0.byID.values) } }

    /// Whether nothing is kept of any session; for tests.
    var isEmpty: Bool {
        self.state.withLock { $0.byID.isEmpty && $0.byName.isEmpty && $0.byPath.isEmpty && $0.reserved == 0 }
    }
}

/// What must not be guessed. The system's generator is one for cryptography.
enum Randomness {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)

    /// Letters and digits, 5.95 bits each.
    static func text(count: Int) -> String {
        var generator = SystemRandomNumberGenerator()
        return String(
            decoding: (0..<count).map { _ in
                self.alphabet[Int.random(in: 0..<self.alphabet.count, using: &generator)]
            }, as: UTF8.self)
    }

    static func integer<Value: FixedWidthInteger & UnsignedInteger>(_: Value.Type = Value.self) -> Value {
        var generator = SystemRandomNumberGenerator()
        return generator.next()
    }
}
