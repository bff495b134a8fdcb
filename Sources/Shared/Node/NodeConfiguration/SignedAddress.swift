import Media
import MediaObjects

/// What `--sign-path` tells of a path: the prefix for files and the query for RTMP and HTTP-FLV.
struct SignedAddress: CustomStringConvertible {
    enum Problem: Error, Equatable, CustomStringConvertible {
        case notAStream(String)
        case noSecret

        var description: String {
            switch self {
            case .notAStream(let path):
                "\"\(path)\" is neither /APP/STREAM nor /APP/, with names that streams can have"
            case .noSecret: "there is no secret: set stream.play.url_secret, or give --secret"
            }
        }
    }

    let url: SignedURL
    /// `/app/stream` or `/app/`.
    let path: String

    /// - Parameters:
    ///   - path: `/app/stream` for one stream, `/app/` for all of an app.
    ///   - expires: seconds since 1970 UTC.
    init(path: String, vhost: String, expires: Int64, secret: String) throws(Problem) {
        guard !secret.isEmpty else { throw .noSecret }
        let isApp = path.last == "/"
        // The app may hold slashes; the last part is the stream's name.
        let parts = path.split(separator: "/")
        let names = isApp ? parts + ["any"] : parts
        guard path.first == "/", names.count >= 2, let name = names.last,
            let key = try? StreamKey(
                vhost: vhost, app: names.dropLast().joined(separator: "/"), name: String(name))
        else { throw .notAStream(path) }
        self.path = "/" + parts.joined(separator: "/") + (isApp ? "/" : "")
        self.url = SignedURL.sign(key, scope: isApp ? .app : .stream, expires: expires, secret: secret.utf8)
    }

    /// Lines of `name: value`, each complete as it is.
    var description: String {
        let isApp = self.path.last == "/"
        var lines = ["prefix: \(self.url.pathPrefix)", "query:  \(self.url.query)"]
        lines.append("HLS:    \(self.url.pathPrefix)\(self.path)\(isApp ? "STREAM" : "").m3u8")
        lines.append("FLV:    \(self.path)\(isApp ? "STREAM" : "").flv?\(self.url.query)")
        return lines.joined(separator: "\n") + "\n"
    }
}
