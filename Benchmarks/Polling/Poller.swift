import CEpoll
import Glibc

/// A level-triggered epoll set; each socket is known by a number of the owner's.
package struct Poller: ~Copyable {
    package struct Event {
        package let token: Int
        package let readable: Bool
        package let writable: Bool
    }

    private static let broken = EPOLLERR.rawValue | EPOLLHUP.rawValue

    private let descriptor: Int32
    /// Event masks and tokens, as `cepollWait` packs them.
    private var ready = [UInt64](repeating: 0, count: Int(cepollCapacity))

    package init() throws(SystemError) {
        self.descriptor = epoll_create1(0)
        guard self.descriptor >= 0 else { throw SystemError("epoll_create1") }
    }

    deinit {
        Glibc.close(self.descriptor)
    }

    package func add(_ socket: Int32, token: Int, writable: Bool) throws(SystemError) {
        try self.control(EPOLL_CTL_ADD, socket, token: token, writable: writable)
    }

    package func modify(_ socket: Int32, token: Int, writable: Bool) throws(SystemError) {
        try self.control(EPOLL_CTL_MOD, socket, token: token, writable: writable)
    }

    package func remove(_ socket: Int32) {
        cepollControl(self.descriptor, EPOLL_CTL_DEL, socket, 0, 0)
    }

    /// Waits up to `timeoutMillis` and returns how many events `event(at:)` can be asked for.
    package mutating func wait(timeoutMillis: Int32) -> Int {
        // Safety: the array holds `cepollCapacity` numbers, which is the most that the call writes.
        let count = unsafe cepollWait(self.descriptor, &self.ready, timeoutMillis)
        return max(0, Int(count))
    }

    package func event(at index: Int) -> Event {
        let mask = UInt32(self.ready[index] >> 32)
        return Event(
            token: Int(self.ready[index] & 0xFFFF_FFFF),
            readable: mask & (EPOLLIN.rawValue | Self.broken) != 0,
            writable: mask & (EPOLLOUT.rawValue | Self.broken) != 0)
    }

    private func control(
        _ operation: Int32, _ socket: Int32, token: Int, writable: Bool
    ) throws(SystemError) {
        let events = EPOLLIN.rawValue | (writable ? EPOLLOUT.rawValue : 0)
        guard cepollControl(self.descriptor, operation, socket, events, UInt32(token)) == 0 else {
            throw SystemError("epoll_ctl")
        }
    }
}
