import ArgumentParser
import Foundation
import NIOCore
import NIOPosix
import Synchronization

/// Waits with many connections for the same playlist, and tells how long after the source had it each has it.
struct ReloadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload",
        abstract: "Blocking reloads on many connections; prints milliseconds from the release to each answer.")

    @Option(help: "The server's port on 127.0.0.1.")
    var port: Int

    @Option(help: "The playlist's path with the directives of a blocking reload.")
    var path = "/live/game/_video.m3u8?_HLS_msn=1"

    @Option(help: "How many wait.")
    var connections = 2_000

    @Option(help: "How many releases are measured, after one that is not.")
    var rounds = 5

    func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let results = ReloadResults(expected: self.connections * (self.rounds + 1), skipped: self.connections)
        let request = ByteBuffer(string: "GET \(self.path) HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        let rounds = self.rounds + 1
        for _ in 0..<self.connections {
            _ = try await ClientBootstrap(group: group)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            ReloadHandler(request: request, rounds: rounds, results: results))
                    }
                }.connect(host: "127.0.0.1", port: self.port).get()
        }
        let millis = try await results.wait().sorted()
        func quantile(_ share: Double) -> Double { millis[min(millis.count - 1, Int(Double(millis.count) * share))] }
        print(
            "{\"connections\": \(self.connections), \"answers\": \(millis.count), \"p50_millis\": \(quantile(0.5)), "
                + "\"p99_millis\": \(quantile(0.99)), \"max_millis\": \(quantile(1))}")
    }
}

/// The delays of all connections, complete when all were told.
private final class ReloadResults: Sendable {
    private let state = Mutex<(told: Int, millis: [Double])>((0, []))
    private let expected: Int
    private let skipped: Int
    private let done = AsyncStream<Void>.makeStream()

    init(expected: Int, skipped: Int) {
        self.expected = expected
        self.skipped = skipped
    }

    func tell(_ millis: Double) {
        let isLast = self.state.withLock { state in
            state.told += 1
            if state.told > self.skipped { state.millis.append(millis) }
            return state.told == self.expected
        }
        if isLast { self.done.continuation.finish() }
    }

    func wait() async throws -> [Double] {
        for await _ in self.done.stream {}
        return self.state.withLock { $0.millis }
    }
}

private final class ReloadHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let request: ByteBuffer
    private var rounds: Int
    private let results: ReloadResults
    private var received = ByteBuffer()

    init(request: ByteBuffer, rounds: Int, results: ReloadResults) {
        self.request = request
        self.rounds = rounds
        self.results = results
    }

    func channelActive(context: ChannelHandlerContext) { self.ask(context) }

    private func ask(_ context: ChannelHandlerContext) {
        self.rounds -= 1
        guard self.rounds >= 0 else { return context.close(promise: nil) }
        context.writeAndFlush(self.wrapOutboundOut(self.request), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let now = NIODeadline.now().uptimeNanoseconds
        let bytes = self.unwrapInboundIn(data)
        // The client must not cost more than the server: it looks at its bytes once, when all are there.
        if self.received.readableBytes == 0 { self.received = bytes } else { self.received.writeImmutableBuffer(bytes) }
        let view = self.received.readableBytesView
        guard let end = Self.end(of: Self.headEnd, in: view, within: 1_024),
            let length = Self.number(after: Self.lengthLabel, in: view[..<end]), view.endIndex - end >= length,
            let released = Self.number(after: Self.timeLabel, in: view[end...])
        else { return }
        self.received = ByteBuffer()
        self.results.tell(Double(Int64(now) - Int64(released)) / 1e6)
        self.ask(context)
    }

    private static let headEnd = Array("\r\n\r\n".utf8)
    private static let lengthLabel = Array("Content-Length: ".utf8)
    private static let timeLabel = Array("#TIME:".utf8)

    /// The index behind the first `label`.
    private static func end(of label: [UInt8], in view: ByteBufferView, within limit: Int) -> Int? {
        var index = view.startIndex
        let last = min(view.endIndex - label.count, view.startIndex + limit)
        while index <= last {
            if view[index] == label[0], view[index..<index + label.count].elementsEqual(label) {
                return index + label.count
            }
            index += 1
        }
        return nil
    }

    private static func number(after label: [UInt8], in view: ByteBufferView) -> Int? {
        guard let start = self.end(of: label, in: view, within: 1_024) else { return nil }
        let digits = view[start...].prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        return digits.isEmpty ? nil : digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
    }
}
