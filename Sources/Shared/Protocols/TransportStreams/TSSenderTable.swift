package import NIOCore

/// Decides whose datagrams make which stream, where anybody can send to a port.
///
/// A stream has one sender at a time. Another one, such as the same encoder after a restart, which then sends from another
/// port, takes its place when it is silent for a moment; until then its datagrams are not mixed in. A sender that is silent
/// for longer is forgotten. `Endpoint` is an address with its port, `Host` one without.
package struct TSSenderTable<Endpoint: Hashable & Sendable, Host: Hashable & Sendable>: Sendable {
    package struct Configuration: Sendable, Hashable {
        /// Each sender's host has a stream of its own; else there is one for all.
        package var separatesHosts: Bool
        /// A sender that is silent for longer may be replaced by another.
        package var takeoverAfter: TimeAmount
        /// A sender that is silent for longer has left.
        package var idleTimeout: TimeAmount
        package var maximumSenders: Int

        package init(
            separatesHosts: Bool = false, takeoverAfter: TimeAmount = .milliseconds(500),
            idleTimeout: TimeAmount = .seconds(5), maximumSenders: Int = 1_000
        ) {
            precondition(maximumSenders > 0, "a table for \(maximumSenders) senders")
            self.separatesHosts = separatesHosts
            self.takeoverAfter = takeoverAfter
            self.idleTimeout = idleTimeout
            self.maximumSenders = maximumSenders
        }
    }

    package enum Verdict: Sendable, Equatable {
        /// It is for this stream. Numbers are never used again.
        case stream(Int)
        /// It begins this stream.
        case newStream(Int)
        /// It is for this stream, and the first of a sender that took the place of another.
        case newSender(Int)
        /// The stream has another sender.
        case foreign
        /// There are as many senders as there may be.
        case full
    }

    private struct Sender: Sendable {
        var endpoint: Endpoint
        var host: Host?
        var lastHeard: NIODeadline
    }

    private let configuration: Configuration
    private var senders: [Int: Sender] = [:]
    private var byEndpoint: [Endpoint: Int] = [:]
    private var byHost: [Host?: Int] = [:]
    private var next = 0

    package init(configuration: Configuration = .init()) { self.configuration = configuration }

    package var isEmpty: Bool { self.senders.isEmpty }

    /// A datagram came. `host` is asked only for endpoints that are not known.
    package mutating func receive(from endpoint: Endpoint, host: () -> Host, now: NIODeadline) -> Verdict {
        if let id = self.byEndpoint[endpoint] {
            self.senders[id]?.lastHeard = now
            return .stream(id)
        }
        let host: Host? = self.configuration.separatesHosts ? host() : nil
        if let id = self.byHost[host], let sender = self.senders[id] {
            guard now - sender.lastHeard >= self.configuration.takeoverAfter else { return .foreign }
            self.byEndpoint[sender.endpoint] = nil
            self.byEndpoint[endpoint] = id
            self.senders[id] = Sender(endpoint: endpoint, host: host, lastHeard: now)
            return .newSender(id)
        }
        guard self.senders.count < self.configuration.maximumSenders else { return .full }
        let id = self.next
        self.next += 1
        self.senders[id] = Sender(endpoint: endpoint, host: host, lastHeard: now)
        self.byEndpoint[endpoint] = id
        self.byHost[host] = id
        return .newStream(id)
    }

    /// When the next sender will have been silent for too long.
    package var nextDeadline: NIODeadline? {
        self.senders.values.map(\.lastHeard).min().map { $0 + self.configuration.idleTimeout }
    }

    /// Forgets those who were silent for too long. Returns the streams that end with that.
    package mutating func deadlineReached(now: NIODeadline) -> [Int] {
        let gone = self.senders.filter { now - $0.value.lastHeard >= self.configuration.idleTimeout }
        for (id, sender) in gone {
            self.senders[id] = nil
            self.byEndpoint[sender.endpoint] = nil
            self.byHost[sender.host] = nil
        }
        return gone.keys.sorted()
    }
}
