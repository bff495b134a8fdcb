import Glibc
import Logging
import Media
import NIOCore
import NIOPosix
import RTP
import RTPReceiving
import RTPSending
import SecureRTP
import StreamHub
import Streaming
import Synchronization
import TestSupport
import Testing
import WebRTC

@testable import WebRTCServer

/// What a packet costs the server, and a session in memory. Run with `WEIR_MEASURE=1` and optimisation.
@Suite(.enabled(if: unsafe getenv("WEIR_MEASURE") != nil), .serialized) struct FanOutMeasurement {
    /// The processor time of the server's event loops, in microseconds.
    private func loopTime(_ node: TestNode) async throws -> Double {
        var sum = 0.0
        for worker in node.server.workers {
            sum +=
                try await worker.loop.submit {
                    var time = timespec()
                    _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
                    return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
                }.get()
        }
        return sum
    }

    private func residentKilobytes() -> Int {
        var statistics = [CChar](repeating: 0, count: 256)
        let file = unsafe fopen("/proc/self/statm", "r")
        defer { _ = unsafe file.map { unsafe fclose($0) } }
        guard let file = unsafe file, unsafe fgets(&statistics, 256, file) != nil else { return 0 }
        let text = String(decoding: statistics.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return text.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 * 4 } ?? 0
    }

    @Test(arguments: [true, false]) func aPacketCosts(usesSegmentation: Bool) async throws {
        let viewers = 300
        let node = try await TestNode { $0.usesSegmentation = usesSegmentation }
        let clientGroup = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let publisher = try await TestPublisher.start(node.hub, "m", on: node.group.next())
        try await publisher.publish(Sample.events(0))
        let offers = (0..<viewers).map { _ in TestClient(.player, on: clientGroup.next()) }
        let before = self.residentKilobytes()
        for client in offers { _ = try await node.server.createPlayer(node.request(client.offer, name: "m")).get() }
        let answered = self.residentKilobytes()
        for client in offers {
            _ = try await node.play(client, name: "m")
            try await client.ignoreMedia()
        }
        for client in offers {
            try await eventually("connected", within: .seconds(60)) { client.state.isEstablished }
        }
        var number = 1
        var start = ContinuousClock.now
        func run(_ count: Int) async throws {
            start = .now
            for step in 0..<count {
                try await publisher.publish(Sample.events(number))
                number += 1
                try await Task.sleep(until: start + .milliseconds(40) * (step + 1))
            }
        }
        try await run(50)
        let (time, statistics) = (try await self.loopTime(node), await node.server.statistics())
        try await run(250)
        let (endTime, end) = (try await self.loopTime(node), await node.server.statistics())
        let packets = Double(end.sentDatagrams - statistics.sentDatagrams)
        let calls = Double(end.sendCalls - statistics.sendCalls)
        print(
            "segmentation \(usesSegmentation): \((endTime - time) / packets) us of CPU a packet,",
            "\(packets / 10) packets/s, \(packets / calls) packets a call, dropped \(end.droppedSends)",
            "answered session \(Double(answered - before) / Double(viewers)) KB,",
            "all \(Double(self.residentKilobytes() - answered) / Double(viewers)) KB with the test's clients")
        try await publisher.leave()
        for client in offers { try await client.leave(quietly: true) }
        try await node.stop()
        try await clientGroup.shutdownGracefully()
    }
}
