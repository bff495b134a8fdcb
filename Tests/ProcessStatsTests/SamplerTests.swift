import Glibc
import NIOCore
import NIOPosix
import ProcessStats
import Synchronization
import Testing

@Suite("Samples of this process")
struct SamplerTests {
    @Test("Rates are what happened between two samples")
    func rates() {
        var first = ProcessSample()
        first.usage.userSeconds = 10
        first.disks.readBytes = 1_000
        first.disks.busyMillis = ["sda": 100, "sdb": 0, "gone": 5]
        var second = first
        second.usage.userSeconds = 12
        second.usage.systemSeconds = 1
        second.disks.readBytes = 3_000
        second.disks.writtenBytes = 500
        second.disks.busyMillis = ["sda": 600, "sdb": 1_000, "new": 9_999]
        let rates = second.rates(since: first, seconds: 2)
        #expect(rates.processCores == 1.5)
        #expect(rates.diskReadBytes == 1_000)
        #expect(rates.diskWrittenBytes == 250)
        #expect(rates.diskBusyShare == 0.5)
        #expect(second.rates(since: first, seconds: 0) == ProcessSample.Rates())
        #expect(first.rates(since: second, seconds: 1).processCores == 0)
        #expect(first.rates(since: second, seconds: 1).diskReadBytes == 0)
    }

    @Test("The running process is found in /proc, and its processor time grows with its work")
    func live() async throws {
        let sampler = ProcessSampler()
        let first = sampler.sample()
        let stat = try #require(first.process)
        #expect(stat.pid == Int64(ProcessFacts.read().pid))
        #expect(first.residentBytes > 1 << 20)
        #expect(first.virtualBytes >= first.residentBytes)
        #expect(first.descriptors.open >= 3)
        #expect(first.descriptors.limit >= first.descriptors.open)
        #expect(first.memory.total > 0)
        #expect(first.uptime.seconds > 0)
        #expect(first.processors.total > 0)
        #expect(first.onlineProcessors >= 1)
        let end = NIODeadline.now() + .milliseconds(300)
        var number: UInt64 = 1
        while NIODeadline.now() < end { number = number &* 6_364_136_223_846_793_005 &+ 1 }
        let second = sampler.refresh()
        #expect(number != 0)
        #expect(second.rates.processCores > 0.05)
        #expect(second.rates.processCores < 1_000)
        #expect(second.unixMillis >= first.unixMillis + 250)
    }

    @Test("Samples that are asked for at once are one sample")
    func coalescing() {
        let sampler = ProcessSampler()
        let first = sampler.sample()
        #expect(sampler.refresh().unixMillis == first.unixMillis)
        #expect(sampler.sample().unixMillis == first.unixMillis)
    }

    @Test("Open files are counted")
    func descriptors() throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let sampler = ProcessSampler()
        let before = sampler.sample().descriptors.open
        let channels = try (0..<20).map { _ in
            try DatagramBootstrap(group: group).bind(host: "127.0.0.1", port: 0).wait()
        }
        while sampler.sample().unixMillis == sampler.refresh().unixMillis {}
        #expect(sampler.sample().descriptors.open >= before + 15)
        for channel in channels { try channel.close().wait() }
        try group.syncShutdownGracefully()
    }
}

@Suite("Lag of event loops")
struct LoopLagTests {
    /// A loop that `body` may block until it returns.
    private func withProbe(_ body: (LoopLagProbe, any EventLoop) async throws -> Void) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let loops = group.makeIterator().map { $0 as any EventLoop }
        let probe = LoopLagProbe(loops)
        try await body(probe, loops[1])
        probe.stop()
        try await group.shutdownGracefully()
    }

    private func waits(_ limit: Duration = .seconds(10), until isTrue: () -> Bool) async throws {
        let end = ContinuousClock.now + limit
        while !isTrue(), ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(5)) }
        #expect(isTrue())
    }

    @Test("A loop that is blocked is late, its neighbour is not, and it is forgiven only later")
    func blocked() async throws {
        try await self.withProbe { probe, loop in
            try await self.waits { probe.lags().allSatisfy { $0.count > 0 } }
            let gate = Gate()
            loop.execute { gate.wait() }
            try await self.waits {
                let lags = probe.lags()
                return lags[1].last > .milliseconds(600) && lags[0].last < .milliseconds(200)
            }
            #expect(probe.lags()[1].maximum > .milliseconds(600))
            #expect(await probe.stuckLoops(within: .seconds(1)) == [1])
            gate.open()
            try await self.waits { probe.lags()[1].last < .milliseconds(200) }
            #expect(probe.lags()[1].maximum > .milliseconds(600))
            #expect(await probe.stuckLoops() == [])
        }
    }

    @Test("A probe that was stopped measures no more")
    func stopped() async throws {
        try await self.withProbe { probe, _ in
            try await self.waits { probe.lags().allSatisfy { $0.count > 1 } }
            probe.stop()
            let counts = probe.lags().map(\.count)
            try await Task.sleep(for: .milliseconds(600))
            #expect(zip(probe.lags().map(\.count), counts).allSatisfy { $0 <= $1 + 1 })
            #expect(probe.lags().allSatisfy { $0.last < .seconds(5) })
        }
    }

    /// Blocks a thread until it is opened.
    private final class Gate: Sendable {
        private let isOpen = Atomic<Bool>(false)

        func open() { self.isOpen.store(true, ordering: .releasing) }
        func wait() {
            let end = NIODeadline.now() + .seconds(20)
            while !self.isOpen.load(ordering: .acquiring), NIODeadline.now() < end { usleep(1_000) }
        }
    }
}
