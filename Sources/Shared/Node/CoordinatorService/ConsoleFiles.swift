import APIServer
import ConsolePage
import HTTPTypes
import Hummingbird
import NIOCore
import PlayerPage

/// The console at `/`, and the scripts of the player page that it plays with.
enum ConsoleFiles {
    private struct File: Sendable {
        var type: String
        var bytes: ByteBuffer
        var etag: String
    }

    static func add(to router: Router<APIContext>) {
        for (path, file) in self.files {
            router.get(RouterPath(path)) { request, _ in self.answer(request, with: file) }
        }
    }

    private static var files: [(path: String, file: File)] {
        let own = ConsolePage.paths.compactMap { path in
            ConsolePage.asset(path: path).map {
                (path, File(type: $0.contentType, bytes: $0.bytes, etag: $0.etag))
            }
        }
        let scripts = PlayerPage.paths.filter { $0.hasSuffix(".js") }.compactMap { path in
            PlayerPage.asset(path: path).map {
                (ConsolePage.playerPrefix + path, File(type: $0.contentType, bytes: $0.bytes, etag: $0.etag))
            }
        }
        return own + scripts
    }

    private static func answer(_ request: Request, with file: File) -> Response {
        let tag = "\"\(file.etag)\""
        var headers: HTTPFields = [
            .eTag: tag, .cacheControl: "no-cache", .contentSecurityPolicy: ConsolePage.contentSecurityPolicy,
        ]
        if CoordinatorRoutes.matches(request.headers[.ifNoneMatch], tag: tag) {
            return Response(status: .notModified, headers: headers)
        }
        headers[.contentType] = file.type
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: file.bytes))
    }
}
