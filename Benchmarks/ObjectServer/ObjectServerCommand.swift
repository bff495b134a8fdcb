import ArgumentParser
import Foundation
import HTTPMedia
import HTTPTypes
import HummingbirdCore
import Logging
import MediaObjects
import NIOCore
import NIOPosix
import StreamHub
import Streaming
import TLSContexts

/// What HTTP costs, without the making of what it carries.
@main
struct ObjectBenchmark: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weir-bench-objects", abstract: "A server of media objects, and a crowd that waits for one.",
        subcommands: [ObjectServerCommand.self, ReloadCommand.self])
}

/// Serves the files of a folder as the objects of streams.
struct ObjectServerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "An HTTP server of media objects, for comparison with other servers of the same files.",
        discussion: """
            Every file under ROOT/{app}/{stream}/ and ROOT/{app}/ whose name is an object's is read into memory, or, with
            --files, sent from the disk. A blocking reload of a playlist is answered at the next tick of --tick.

              weir-bench-objects serve --root /srv/objects --port 8080
            """)

    @Option(help: "The folder that is served.")
    var root: String

    @Option(help: "The port of 127.0.0.1; 0 takes any, which is printed.")
    var port = 0

    @Option(help: "Event loops.")
    var loops = 1

    @Flag(help: "Send files from the disk rather than from memory.")
    var files = false

    @Option(help: "Milliseconds between two answers to blocking reloads.")
    var tick = 1_000

    @Option(help: "Certificate in PEM form; with --key, the server speaks TLS, HTTP/1.1 and HTTP/2.")
    var certificate: String?

    @Option(help: "Key in PEM form.")
    var key: String?

    func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: self.loops)
        var logger = Logger(label: "objects")
        logger.logLevel = .error
        let objects = try ObjectFolder(
            URL(filePath: self.root), fromDisk: self.files, tick: .milliseconds(Int64(self.tick)), group: group)
        var tls: TLSContextStore?
        if let certificate, let key {
            tls = try TLSContextStore(
                TLSFiles(certificate: certificate, key: key), applicationProtocols: ["h2", "http/1.1"])
        }
        let media = MediaHTTPChannel(
            responder: { _, writer, _ in
                try await writer.writeResponse(.init(status: .notFound, headerFields: [.contentLength: "0"]))
            },
            configuration: MediaHTTPConfiguration(isTLS: tls != nil), gate: ClosedGate(),
            hub: StreamHub { _ in .init() }, objects: objects, tls: tls, logger: logger)
        let server = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 4_096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .bind(host: "127.0.0.1", port: self.port) { [logger] channel in
                media.setup(channel: channel, logger: logger)
            }
        FileHandle.standardOutput.write(Data("listening \(server.channel.localAddress?.port ?? 0)\n".utf8))
        try await server.executeThenClose { [logger] inbound in
            try await withThrowingDiscardingTaskGroup { connections in
                for try await connection in inbound {
                    connections.addTask { await media.handle(value: connection, logger: logger) }
                }
            }
        }
    }
}

/// Nobody publishes here.
private struct ClosedGate: SessionGate {
    func play(
        _ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> { .failure(SessionRefusal(.notFound, "there are no streams here")) }

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        .failure(SessionRefusal(.unavailable, "there are no streams here"))
    }
}
