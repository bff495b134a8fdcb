import Foundation
import Glibc

/// Plays and serves with VLC.
enum VLC {
    /// Begins to play a URL into `{name}/{name}.ts`.
    static func record(
        _ sandbox: Sandbox, _ url: String, to name: String, options: [String] = []
    ) throws -> Recording {
        let folder = sandbox.file(name)
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o777])
        let file = folder.appendingPathComponent("\(name).ts")
        let child = try self.start(
            sandbox, name, home: folder, [url, "--sout", "#std{access=file,mux=ts,dst=\(file.path)}"] + options)
        return Recording(child: child, file: file)
    }

    /// Begins to serve a film at `rtsp://127.0.0.1:port/x`, once, at the pace of its times. It has UDP alone, and drops
    /// clients that say nothing for `timeout` seconds.
    static func serve(_ sandbox: Sandbox, _ film: URL, port: Int, timeout: Int) throws -> Child {
        try self.start(
            sandbox, "vlc-server", home: sandbox.folder,
            [
                film.path, "--rtsp-timeout", "\(timeout)", "--sout", "#rtp{sdp=rtsp://127.0.0.1:\(port)/x}",
                "vlc://quit",
            ])
    }

    private static func start(
        _ sandbox: Sandbox, _ name: String, home: URL, _ arguments: [String]
    ) throws -> Child {
        // VLC refuses to run as root.
        let prefix = getuid() == 0 ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : ["env"]
        return try sandbox.start(
            name, prefix[0],
            Array(prefix.dropFirst()) + [try Tools.command("cvlc"), "-I", "dummy", "--no-color"] + arguments,
            environment: ["HOME": home.path])
    }
}
