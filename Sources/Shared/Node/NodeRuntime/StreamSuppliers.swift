import Media
import MediaObjects
import NIOCore
import StreamHub

/// All of a node that can bring streams, such as cameras on demand and the channels of devices.
final class StreamSuppliers: Sendable {
    private let suppliers = Later<[any StreamSupplier]>()

    private static let firstPause = Duration.milliseconds(100)
    private static let longestPause = Duration.milliseconds(500)
    /// How long the first playlist of a stream may take after the stream is there: packagers want whole segments.
    private static let playlistWait = TimeAmount.seconds(10)

    /// Once, before the node takes viewers.
    func attach(_ suppliers: [any StreamSupplier]) { self.suppliers.value = suppliers }

    var isEmpty: Bool { self.suppliers.value?.isEmpty ?? true }

    /// Begins to bring a stream, if it is one of theirs. Returns how long a viewer may wait for it; `nil` if nobody here can.
    @discardableResult
    func demand(_ key: StreamKey) async -> TimeAmount? {
        for supplier in self.suppliers.value ?? [] {
            if let patience = await supplier.demand(key) { return patience }
        }
        return nil
    }

    /// Somebody reads files of a stream.
    func filesWanted(of key: StreamKey) {
        for supplier in self.suppliers.value ?? [] { supplier.filesWanted(of: key) }
    }

    /// Brings a stream for somebody who asks for a playlist of it, and waits until `reply` has one. `nil` if nobody here
    /// can bring it. `isHere`: the stream is published.
    func object(
        of key: StreamKey, on loop: any EventLoop, isHere: @Sendable () -> Bool,
        reply: @escaping @Sendable () -> MediaObjectReply
    ) async -> MediaObjectAnswer? {
        guard let patience = await self.demand(key) else { return nil }
        var deadline = NIODeadline.now() + patience
        var wasHere = false
        var pause = Self.firstPause
        while NIODeadline.now() < deadline, !Task.isCancelled {
            if isHere() {
                if !wasHere { deadline = .now() + Self.playlistWait }
                wasHere = true
                let answer = await Self.answer(reply, on: loop)
                guard case .notFound? = answer else { return answer }
            }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, Self.longestPause)
        }
        return wasHere ? .unavailable("\(key) has no playlist yet") : .notFound("nobody publishes \(key)")
    }

    private static func answer(
        _ reply: @escaping @Sendable () -> MediaObjectReply, on loop: any EventLoop
    ) async -> MediaObjectAnswer? {
        let future = loop.flatSubmit { () -> EventLoopFuture<MediaObjectAnswer> in
            switch reply() {
            case .now(let answer): loop.makeSucceededFuture(answer)
            case .later(let future): future
            }
        }
        return try? await future.get()
    }
}
