import Foundation
import Glibc

/// Plays with VLC.
enum VLC {
    /// Begins to play a URL into `{name}/{name}.ts`.
    static func record(_ sandbox: Sandbox, _ url: String, to name: String) throws -> Recording {
        let folder = sandbox.file(name)
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o777])
        // VLC refuses to run as root.
        let prefix = getuid() == 0 ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : ["env"]
        let file = folder.appendingPathComponent("\(name).ts")
        let child = try sandbox.start(
            name, prefix[0],
            Array(prefix.dropFirst()) + [
                try Tools.command("cvlc"), "-I", "dummy", "--no-color", url, "--sout",
                "#std{access=file,mux=ts,dst=\(file.path)}",
            ], environment: ["HOME": folder.path])
        return Recording(child: child, file: file)
    }
}
