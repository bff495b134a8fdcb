import Foundation
package import Logging
package import NIOSSL
import Synchronization

/// A certificate chain and its key, as files in PEM form.
package struct TLSFiles: Sendable, Hashable {
    package var certificate: String
    package var key: String

    package init(certificate: String, key: String) {
        self.certificate = certificate
        self.key = key
    }
}

/// Why certificate files cannot be used.
package struct TLSFilesError: Error, Sendable, CustomStringConvertible {
    package let files: TLSFiles
    package let cause: String

    package var description: String {
        "cannot use certificate \(self.files.certificate) with key \(self.files.key): \(self.cause)"
    }
}

/// The TLS context that new connections get. Files that change are read again; connections that exist keep theirs.
package final class TLSContextStore: Sendable {
    private struct State {
        var context: NIOSSLContext
        var stamp: [Date]
    }

    private let files: TLSFiles
    private let applicationProtocols: [String]
    private let state: Mutex<State>

    /// Reads the files. Throws `TLSFilesError`. Blocks for the time of a disk read.
    ///
    /// `applicationProtocols` is what a listener offers by ALPN, best first: `h2` and `http/1.1` for media over HTTP,
    /// nothing for RTMP. Spec: RFC 7301.
    package init(_ files: TLSFiles, applicationProtocols: [String] = []) throws {
        self.files = files
        self.applicationProtocols = applicationProtocols
        self.state = Mutex(
            State(context: try Self.load(files, applicationProtocols), stamp: Self.stamp(of: files)))
    }

    /// The newest context.
    package var current: NIOSSLContext { self.state.withLock { $0.context } }

    /// Reads the files again if they changed. Returns whether they did. A pair that cannot be used leaves the old one.
    package func reloadIfChanged() throws -> Bool {
        let stamp = Self.stamp(of: self.files)
        guard stamp != self.state.withLock({ $0.stamp }) else { return false }
        let context = try Self.load(self.files, self.applicationProtocols)
        self.state.withLock { $0 = State(context: context, stamp: stamp) }
        return true
    }

    /// Looks for changed files every few seconds until cancelled.
    package func watch(every interval: Duration = .seconds(5), logger: Logger) async {
        var reported: [Date] = []
        while !Task.isCancelled {
            try? await Task.sleep(for: interval)
            do {
                if try self.reloadIfChanged() {
                    logger.notice("certificate reloaded", metadata: ["file": "\(self.files.certificate)"])
                }
            } catch {
                let stamp = Self.stamp(of: self.files)
                if stamp != reported { logger.error("certificate not reloaded: \(error)") }
                reported = stamp
            }
        }
    }

    private static func load(_ files: TLSFiles, _ applicationProtocols: [String]) throws -> NIOSSLContext {
        do {
            let chain = try NIOSSLCertificate.fromPEMFile(files.certificate)
            let key = try NIOSSLPrivateKey(file: files.key, format: .pem)
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = applicationProtocols
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw TLSFilesError(files: files, cause: "\(error)")
        }
    }

    private static func stamp(of files: TLSFiles) -> [Date] {
        [files.certificate, files.key].map { path in
            // Mounted secrets are links that are swapped as a whole.
            let target = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
            let attributes = try? FileManager.default.attributesOfItem(atPath: target)
            return attributes?[.modificationDate] as? Date ?? .distantPast
        }
    }
}
