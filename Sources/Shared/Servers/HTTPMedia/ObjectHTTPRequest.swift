import Media
import MediaObjects
import NIOHTTP1

/// A request for a file of a stream, as its target tells.
struct ObjectHTTPRequest: Equatable {
    var app: String
    var stream: String
    var name: MediaObjectName
    /// The vhost that the query names outright.
    var vhost: String?
    /// The host that the request was sent to, without its port.
    var host: String
    /// The query, as it came.
    var query: Substring
    var signedPath: SignedPath?

    /// Reads `/{app}/{stream}.m3u8`, `.mpd`, `.jpg` and `/{app}/{stream}/_…`; `nil` for a path that is none of these.
    ///
    /// `app` may have several components. A signature may stand in front.
    init?(_ target: RequestTarget, host: String) {
        var path = target.path[...]
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return nil }
        let file = path[path.utf8.index(after: slash)...]
        if file.utf8.first == UInt8(ascii: "_"), let name = MediaObjectName(fileName: String(file)) {
            self.name = name
            path = path[..<slash]
        } else {
            guard let (name, length) = Self.besideFolder(file) else { return nil }
            self.name = name
            path = path.dropLast(length)
        }
        self.signedPath = SignedPath.split(from: &path)
        guard let end = path.utf8.lastIndex(of: UInt8(ascii: "/")), end != path.startIndex else { return nil }
        self.app = String(path[path.utf8.index(after: path.startIndex)..<end])
        self.stream = String(path[path.utf8.index(after: end)...])
        self.query = target.query
        self.host = RequestTarget.withoutPort(target.authority.map(String.init) ?? host)
        var vhost: String?
        target.forEachParameter { parameter, value in
            if parameter == "vhost" || parameter == "domain", vhost == nil { vhost = value }
        }
        self.vhost = vhost
    }

    /// The files that lie beside a stream's folder, with the length of what tells them.
    private static func besideFolder(_ file: Substring) -> (MediaObjectName, Int)? {
        guard let dot = file.utf8.lastIndex(of: UInt8(ascii: ".")) else { return nil }
        switch file[dot...] {
        case ".m3u8": return (.multivariant, 5)
        case ".mpd": return (.manifest, 4)
        case ".jpg": return (.snapshot, 4)
        default: return nil
        }
    }

    /// The request to the source, for a stream of `vhost`.
    func request(vhost: String, hops: Int) throws(ObjectRequestError) -> MediaObjectRequest {
        let query: MediaObjectQuery
        do throws(MediaObjectQueryError) {
            query = try MediaObjectQuery(self.query, for: self.name)
        } catch {
            throw .query(error)
        }
        do throws(StreamKeyError) {
            let key = try StreamKey(vhost: vhost, app: self.app, name: self.stream)
            return MediaObjectRequest(key: key, name: self.name, query: query, hops: hops)
        } catch {
            throw .key(error)
        }
    }
}

/// Why a request for a file of a stream cannot be passed on.
enum ObjectRequestError: Error, Equatable {
    case key(StreamKeyError)
    case query(MediaObjectQueryError)
    /// `Weir-Hops` is no number.
    case hops
    /// Nodes pass the request on to each other.
    case loop(hops: Int)

    var status: HTTPResponseStatus {
        if case .loop = self { .custom(code: 508, reasonPhrase: "Loop Detected") } else { .badRequest }
    }

    var detail: String {
        switch self {
        case .key(let error): "the path names no stream: \(error)"
        case .query(.malformed(let parameter)): "\(parameter) has a value that it cannot have"
        case .query(.repeated(let parameter)): "\(parameter) is there more than once"
        case .query(.partWithoutSequence): "_HLS_part needs _HLS_msn"
        case .hops: "Weir-Hops is no number"
        case .loop(let hops): "nodes passed the request on \(hops) times"
        }
    }
}
