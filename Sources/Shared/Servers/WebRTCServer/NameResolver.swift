import Glibc
import NIOCore
import NIOPosix
import Synchronization

/// Looks up names by the system on a few threads of its own, and keeps what it found for a while.
///
/// Only a name that nothing is known of is waited for, a bounded time. What was found stays, as long as looking it up
/// again takes or fails: a directory that is away for an hour costs nobody a name that was known.
final class NameResolver: Sendable {
    struct Settings: Sendable {
        /// How long somebody waits for all the names that he asks for.
        var patience = TimeAmount.milliseconds(500)
        /// How long an answer counts, and how long it counts that there was none.
        var lifetime = TimeAmount.seconds(30)
        var failureLifetime = TimeAmount.seconds(5)
        /// Names that are kept; the one that is oldest makes room.
        var maximumEntries = 256
        /// Names that are looked up or wait for it; further ones are not found.
        var maximumLookups = 16
        var threads = 2

        /// For names that the settings have, of which there are as many as there are.
        static let unbounded = Settings(maximumEntries: .max, maximumLookups: .max)
    }

    private struct Entry {
        var addresses: [String]
        var until: NIODeadline
    }

    private struct Waiter {
        var names: Set<String>
        var continuation: CheckedContinuation<Void, Never>
        var timer: Scheduled<Void>?
    }

    private struct State {
        var entries: [String: Entry] = [:]
        var lookups: Set<String> = []
        var waiters: [UInt64: Waiter] = [:]
        var nextWaiter: UInt64 = 0
        /// Made for the first name.
        var pool: NIOThreadPool?
        var isClosed = false
    }

    private let loop: any EventLoop
    private let settings: Settings
    private let ask: @Sendable (String) -> [String]?
    private let state = Mutex(State())

    /// `loop` has the timers and the clock. `ask` finds the numeric addresses of a name and may block; `nil` if it cannot
    /// tell now.
    init(
        loop: any EventLoop, settings: Settings = Settings(),
        ask: @escaping @Sendable (String) -> [String]? = NameResolver.askSystem
    ) {
        self.loop = loop
        self.settings = settings
        self.ask = ask
    }

    deinit { self.close() }

    /// The addresses of each name that is known in time. Numeric addresses stand for themselves.
    func addresses(of names: [String]) async -> [String: [String]] {
        var found: [String: [String]] = [:]
        var unknown: Set<String> = []
        for name in names {
            if (try? SocketAddress(ipAddress: name, port: 0)) != nil {
                found[name] = [name]
            } else {
                unknown.insert(name)
            }
        }
        guard !unknown.isEmpty else { return found }
        for name in unknown { self.begin(name) }
        await self.wait(for: unknown)
        self.state.withLock { state in
            for name in unknown { found[name] = state.entries[name]?.addresses }
        }
        return found
    }

    /// Looks a name up unless it is known or being looked up.
    func begin(_ name: String) {
        let pool = self.state.withLock { state -> NIOThreadPool? in
            guard !state.isClosed, !state.lookups.contains(name),
                state.lookups.count < self.settings.maximumLookups,
                state.entries[name].map({ $0.until <= self.loop.now }) ?? true
            else { return nil }
            state.lookups.insert(name)
            if let pool = state.pool { return pool }
            let pool = NIOThreadPool(numberOfThreads: self.settings.threads)
            pool.start()
            state.pool = pool
            return pool
        }
        pool?.submit { [weak self, ask] work in
            self?.finish(name, work == .active ? ask(name) : nil)
        }
    }

    /// Names that are kept, names that are being looked up, and who waits for those.
    var counts: (known: Int, sought: Int, waiting: Int) {
        self.state.withLock { ($0.entries.count, $0.lookups.count, $0.waiters.count) }
    }

    /// Ends the threads, those that hang when they no longer do, and lets everybody go who waits.
    func close() {
        let (pool, waiters) = self.state.withLock { state -> (NIOThreadPool?, [Waiter]) in
            state.isClosed = true
            defer { (state.pool, state.waiters) = (nil, [:]) }
            return (state.pool, Array(state.waiters.values))
        }
        for waiter in waiters { Self.resume(waiter) }
        pool?.shutdownGracefully { _ in }
    }

    // MARK: Waiting

    private func wait(for names: Set<String>) async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let number = self.state.withLock { state -> UInt64? in
                let pending = names.filter { state.lookups.contains($0) && state.entries[$0] == nil }
                guard !pending.isEmpty, !state.isClosed else { return nil }
                state.nextWaiter += 1
                state.waiters[state.nextWaiter] = Waiter(names: pending, continuation: continuation)
                return state.nextWaiter
            }
            guard let number else { return continuation.resume() }
            let timer = self.loop.scheduleTask(in: self.settings.patience) { [weak self] in
                guard let self, let waiter = self.state.withLock({ $0.waiters.removeValue(forKey: number) }) else {
                    return
                }
                Self.resume(waiter)
            }
            let isWaiting = self.state.withLock { state in
                state.waiters[number]?.timer = timer
                return state.waiters[number] != nil
            }
            if !isWaiting { timer.cancel() }
        }
    }

    private func finish(_ name: String, _ addresses: [String]?) {
        let ready = self.state.withLock { state -> [Waiter] in
            state.lookups.remove(name)
            guard !state.isClosed else { return [] }
            self.keep(name, addresses, in: &state)
            var ready: [UInt64] = []
            for number in state.waiters.keys {
                state.waiters[number]?.names.remove(name)
                if state.waiters[number]?.names.isEmpty ?? false { ready.append(number) }
            }
            return ready.compactMap { state.waiters.removeValue(forKey: $0) }
        }
        for waiter in ready { Self.resume(waiter) }
    }

    private func keep(_ name: String, _ answer: [String]?, in state: inout State) {
        let addresses = answer ?? state.entries[name]?.addresses ?? []
        if state.entries[name] == nil, state.entries.count >= self.settings.maximumEntries,
            let oldest = state.entries.min(by: { $0.value.until < $1.value.until })
        {
            state.entries[oldest.key] = nil
        }
        let isFound = !(answer ?? []).isEmpty
        let lifetime = isFound ? self.settings.lifetime : self.settings.failureLifetime
        state.entries[name] = Entry(addresses: addresses, until: self.loop.now + lifetime)
    }

    private static func resume(_ waiter: Waiter) {
        waiter.timer?.cancel()
        waiter.continuation.resume()
    }

    // MARK: The system

    /// Asks the system, which may take many seconds. Gives eight addresses at most, and `nil` if the directory does not
    /// answer.
    static func askSystem(_ name: String) -> [String]? {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = CInt(SOCK_DGRAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(name, nil, &hints, &list)
        guard status == 0 else { return status == EAI_NONAME ? [] : nil }
        defer { unsafe freeaddrinfo(list) }
        var addresses: [String] = []
        var next = unsafe list
        while let entry = unsafe next {
            if let address = unsafe entry.pointee.ai_addr {
                var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
                let named = unsafe getnameinfo(
                    address, entry.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
                let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
                if named == 0 { addresses.append(String(decoding: bytes, as: UTF8.self)) }
            }
            unsafe next = entry.pointee.ai_next
        }
        return Array(addresses.prefix(8))
    }
}
