package import MPEGTS
package import NIOCore
package import SRTAccess
package import StreamHub
package import Streaming

/// What the SRT side of a node needs to know.
package struct SRTServerConfiguration: Sendable {
    /// Where peers arrive.
    package var listeners: [SRTListenAddress] = [SRTListenAddress(host: "0.0.0.0", port: 10_080)]
    /// Options of the listeners' sockets, which those of their peers have, too.
    package var options = SRTOptions()
    /// What counts where a stream id leaves something open.
    package var streamIDs = SRTStreamID.Defaults()
    /// Sessions beyond this are turned away.
    package var maximumSessions = 10_000
    /// Threads that give players their packets.
    package var threads = 1
    /// A publisher that sends no frame for so long after it was let in is ended.
    package var firstMediaTimeout = TimeAmount.seconds(10)
    /// The longest silence of a publisher whose connection stands.
    package var idleTimeout = TimeAmount.seconds(30)
    /// How long a player whose stream ended is kept for what is on its way to it.
    package var endGrace = TimeAmount.seconds(2)
    /// The settings of a stream by vhost or domain, as a stream id names it or not, app and name. Asked on the library's
    /// threads: must not block.
    package var settings: @Sendable (_ host: String?, _ app: String, _ name: String) -> SRTStreamSettings = {
        _, _, _ in .init()
    }
    /// Turns peers away during their handshake, by what is known without waiting; `nil` lets them in, and the gate
    /// decides. Asked on the library's threads: must not block.
    package var doorkeeper: @Sendable (SRTStreamID, SocketAddress?) -> SRTRejection? = { _, _ in nil }
    /// Where the accounts of sessions are kept.
    package var sessions: SessionRegistry

    package init(sessions: SessionRegistry = SessionRegistry()) { self.sessions = sessions }

    func settings(of request: SRTStreamID) -> SRTStreamSettings {
        self.settings(request.host, request.app, request.name)
    }

    /// The options of a socket that calls: the node's, but for its own passphrase and key, and those of the URL over them.
    func callOptions(_ url: SRTURL) -> SRTOptions {
        var own: Set<SRTOption> = [.passphrase, .keyLength, .ipv6Only]
        // The library takes one for both directions, and one for each: the URL's counts, whichever it names.
        if url.options[.latency] != nil { own.formUnion([.receiveLatency, .peerLatency]) }
        var options = self.options.without(own)
        options.merge(url.options)
        // The URL's datagrams may be shorter than the node's.
        if url.options[.payloadSize] == nil, case .integer(let mss) = options[.mss] {
            var payload = 1_316
            if case .integer(let own) = options[.payloadSize] { payload = own }
            let room = (mss - SRTURL.headerLength) / TS.packetLength * TS.packetLength
            if payload > room, room > 0 { options.shorten(to: room) }
        }
        return options
    }
}

extension SRTOptions {
    fileprivate mutating func shorten(to payload: Int) {
        do throws(SRTOptionError) {
            try self.set(.payloadSize, to: .integer(payload))
        } catch {
            preconditionFailure("a payload of \(payload) bytes is none: \(error)")
        }
    }
}

/// A local address of SRT. Port 0 takes one that is free.
package struct SRTListenAddress: Sendable, Hashable {
    /// An IP address; `0.0.0.0` or `::` for all of its family.
    package var host: String
    package var port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
}

/// The settings of the SRT sessions of one stream.
package struct SRTStreamSettings: Sendable, Hashable {
    /// Whether clients may publish and play by SRT.
    package var isEnabled = true
    /// Options that are set during the handshake, such as the passphrase and the latency.
    package var options = SRTOptions()
    /// Players of a stream that is published here by SRT get its packets as they came.
    package var passesThrough = false
    /// In which codec players get the audio.
    package var audio = AudioForm.source
    /// Which program and audio of a publisher's stream are read.
    package var demuxer = TSDemuxer.Configuration()
    /// After a loss a publisher's video waits for a keyframe.
    package var waitsForKeyframeAfterLoss = true
    /// Group of pictures that is kept for players, in bytes, and when they are too slow.
    package var gopCacheBytes = 32 << 20
    package var slowViewer = SlowViewerPolicy()

    package init() {}
}
