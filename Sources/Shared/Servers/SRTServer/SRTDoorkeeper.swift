import CSRT
import Glibc
import Logging
import NIOCore
import SRTAccess
import StreamHub
import Synchronization

/// Decides during a handshake who may come in, and with which options. Runs on the library's threads.
///
/// Only what is known at once decides here, because the library waits; whether a peer may publish or play is the gate's
/// to say, when it is connected.
final class SRTDoorkeeper: Sendable {
    private let configuration: SRTServerConfiguration
    private let logger: Logger
    private let isFull: @Sendable () -> Bool
    private let refusals = Mutex<[SRTRejection: UInt64]>([:])
    /// Refusals are told once a second; the rest is counted.
    private let lastTold = Mutex(NIODeadline.uptimeNanoseconds(0))

    init(configuration: SRTServerConfiguration, logger: Logger, isFull: @escaping @Sendable () -> Bool) {
        self.configuration = configuration
        self.logger = logger
        self.isFull = isFull
    }

    /// Peers that were turned away, by reason.
    var counts: [SRTRejection: UInt64] { self.refusals.withLock { $0 } }

    /// `nil` lets the peer in; its options are set.
    func decide(_ socket: SRTSocket, streamID: [UInt8], address: SocketAddress?) -> SRTRejection? {
        let request: SRTStreamID
        do throws(SRTStreamIDError) {
            request = try SRTStreamID(parsing: streamID, defaults: self.configuration.streamIDs)
        } catch {
            return self.refuse(error.rejection, "\(error)", nil, address)
        }
        if self.isFull() { return self.refuse(.overload, "too many SRT sessions", request, address) }
        let settings = self.configuration.settings(of: request)
        guard settings.isEnabled else {
            return self.refuse(.forbidden, "SRT is off for this stream", request, address)
        }
        if let rejection = self.configuration.doorkeeper(request, address) {
            return self.refuse(rejection, "turned away", request, address)
        }
        do throws(SRTError) {
            // What concerns the port is the listener's.
            try socket.set(settings.options.filtered([.connecting, .always]))
        } catch {
            return self.refuse(.internalError, "\(error)", request, address)
        }
        return nil
    }

    private func refuse(
        _ rejection: SRTRejection, _ text: String, _ request: SRTStreamID?, _ address: SocketAddress?
    ) -> SRTRejection {
        self.refusals.withLock { $0[rejection, default: 0] += 1 }
        let now = NIODeadline.now()
        let isDue = self.lastTold.withLock { last in
            guard now - last >= .seconds(1) else { return false }
            last = now
            return true
        }
        if isDue {
            self.logger.info(
                "SRT peer turned away",
                metadata: [
                    "peer": "\(address.map(\.peerDescription) ?? "unknown")", "code": "\(rejection.rawValue)",
                    "stream": "\(request.map { "\($0.app)/\($0.name)" } ?? "none")", "reason": "\(text)",
                ])
        }
        return rejection
    }
}

/// The library's callback for each handshake.
func srtPeerKnocks(
    _ context: UnsafeMutableRawPointer?, _ socket: SRTSOCKET, _ version: CInt, _ address: UnsafePointer<sockaddr>?,
    _ streamID: UnsafePointer<CChar>?
) -> CInt {
    // Safety: the context is the doorkeeper that `listen` was given, which lives as long as the listener.
    guard
        let doorkeeper = unsafe context.map({
            unsafe Unmanaged<SRTDoorkeeper>.fromOpaque($0).takeUnretainedValue()
        })
    else { return -1 }
    // Safety: the text ends with a zero, and is copied here.
    let text = unsafe streamID.map { unsafe Array(UnsafeRawBufferPointer(start: $0, count: strlen($0))) } ?? []
    let rejection = doorkeeper.decide(
        SRTSocket(id: socket), streamID: text, address: unsafe SocketAddress(peer: address))
    guard let rejection else { return 0 }
    srt_setrejectreason(socket, rejection.rawValue)
    return -1
}

extension SocketAddress {
    /// Copies an address that the library shows.
    fileprivate init?(peer address: UnsafePointer<sockaddr>?) {
        guard let address = unsafe address else { return nil }
        let raw = unsafe UnsafeRawPointer(address)
        // Safety: an address of a family is as long as the family's are.
        switch unsafe CInt(address.pointee.sa_family) {
        case AF_INET: self.init(unsafe raw.loadUnaligned(as: sockaddr_in.self))
        case AF_INET6: self.init(unsafe raw.loadUnaligned(as: sockaddr_in6.self))
        default: return nil
        }
    }
}
