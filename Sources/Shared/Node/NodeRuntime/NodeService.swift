package import Logging
import NIOCore
import NIOPosix
import NodeConfiguration
import ServiceLifecycle

/// An origin or an edge: wires the modules by the settings, and runs them until it is told to stop.
///
/// Shutdown order: take nobody new, move publishers, let viewers leave, stop accepting, let last bytes leave, tell the
/// cluster and hooks what is left to tell, close.
package struct NodeService: Service {
    private let live: LiveSettings
    private let settings: NodeSettings
    private let logger: Logger

    package init(settings: LiveSettings, logger: Logger) {
        self.live = settings
        self.settings = settings.current
        self.logger = logger
    }

    package func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: max(1, self.settings.eventLoops))
        do {
            try await self.serve(on: group)
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
    }

    private func serve(on group: MultiThreadedEventLoopGroup) async throws {
        let parts = try await NodeParts(settings: self.live, group: group, logger: self.logger)
        let bound = try await parts.listen()
        let (binds, bind) = AsyncStream.makeStream(of: Void.self)
        let ready = TaskService {
            var iterator = binds.makeAsyncIterator()
            for _ in 0..<parts.httpListenerCount { await iterator.next() }
            guard !Task.isCancelled else { return }
            parts.readiness.isListening = true
            self.logReady(bound)
        }
        // The group stops them one after the other, the last one first.
        let services = parts.services { bind.yield() } + [ready, parts.drain]
        try await ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: services.map { .init(service: $0, successTerminationBehavior: .ignore) },
                logger: self.logger.quiet)
        ).run()
        await parts.close()
    }

    private func logReady(_ bound: NodeParts.Bound) {
        self.logger.notice(
            "\(self.settings.role.rawValue) ready",
            metadata: [
                "node": "\(self.settings.node.id)", "rtmp": "\(bound.rtmp)", "http": "\(bound.http)",
                "api": "\(self.settings.api.listen)", "webrtc": "\(bound.webRTC.map { "\($0)" } ?? "off")",
                "srt": "\(bound.srt.map { "\($0)" } ?? "off")",
                "ts": "\(bound.ts.map { "\($0)" } ?? "off")",
                "gb28181":
                    "\(bound.gb28181.map { "\($0.sip.map(String.init).joined(separator: ","))/\($0.media)" } ?? "off")",
                "rtsp": "\(bound.rtsp)", "loops": "\(self.settings.eventLoops)",
            ])
    }
}
