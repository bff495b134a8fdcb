package import NIOCore

/// The console, which the coordinator serves at `/`.
///
/// Its files are part of the program (`Page/` is embedded) and refer to each other by relative addresses. The player's
/// scripts are those of `PlayerPage`: whoever serves the console serves them below `playerPrefix`. The page asks the API
/// at `api/v1/` beside it, so it also works below a path that a proxy puts in front.
package enum ConsolePage {
    /// A file as HTTP answers with it.
    package struct Asset: Sendable {
        package let contentType: String
        package let bytes: ByteBuffer
        /// A strong validator without quotes: a hash of the bytes.
        package let etag: String
    }

    /// Where there are files.
    package static var paths: [String] { self.assets.keys.sorted() }

    /// Where the files of the player page are expected: its `/player-hls.js` at `/player/player-hls.js`, and so on.
    package static let playerPrefix = "/player"

    /// Value of `Content-Security-Policy` for all files: scripts and styles of the page alone, pictures and media also
    /// from memory, requests to the nodes that play, and no frames around or in it.
    ///
    /// Spec: CSP Level 3 §6.
    package static let contentSecurityPolicy = [
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:",
        "connect-src 'self' http: https: ws: wss:", "media-src blob: http: https:", "frame-ancestors 'none'",
        "base-uri 'none'", "form-action 'none'",
    ].joined(separator: "; ")

    /// The file at `path`, which begins with `/` and has no query; `nil` if the console has none there.
    ///
    /// The answers never change while a program runs, but do with the next version: `Cache-Control: no-cache` with the
    /// validator keeps the files together.
    package static func asset(path: String) -> Asset? { self.assets[path] }

    private static let assets: [String: Asset] = {
        let html = Asset(type: "text/html; charset=utf-8", bytes: PackageResources.index_html)
        var assets = ["/": html, "/index.html": html]
        assets["/favicon.svg"] = Asset(type: "image/svg+xml", bytes: PackageResources.favicon_svg)
        let styles = [
            ("/console.css", PackageResources.console_css),
            ("/console-pages.css", PackageResources.console_pages_css),
            ("/console-tables.css", PackageResources.console_tables_css),
        ]
        for (path, bytes) in styles {
            assets[path] = Asset(type: "text/css; charset=utf-8", bytes: bytes)
        }
        for (path, bytes) in ConsolePage.scripts {
            assets[path] = Asset(type: "text/javascript; charset=utf-8", bytes: bytes)
        }
        return assets
    }()

    private static let scripts: [(path: String, bytes: [UInt8])] = [
        ("/console-addresses.js", PackageResources.console_addresses_js),
        ("/console-api.js", PackageResources.console_api_js),
        ("/console-charts.js", PackageResources.console_charts_js),
        ("/console-dialog.js", PackageResources.console_dialog_js),
        ("/console-dom.js", PackageResources.console_dom_js),
        ("/console-format.js", PackageResources.console_format_js),
        ("/console-page.js", PackageResources.console_page_js),
        ("/console-player.js", PackageResources.console_player_js),
        ("/console-theme.js", PackageResources.console_theme_js),
        ("/console-widgets.js", PackageResources.console_widgets_js),
        ("/console.js", PackageResources.console_js),
        ("/page-access.js", PackageResources.page_access_js),
        ("/page-clients.js", PackageResources.page_clients_js),
        ("/page-events.js", PackageResources.page_events_js),
        ("/page-nodes.js", PackageResources.page_nodes_js),
        ("/page-overview.js", PackageResources.page_overview_js),
        ("/page-recordings.js", PackageResources.page_recordings_js),
        ("/page-stream.js", PackageResources.page_stream_js),
        ("/page-streams.js", PackageResources.page_streams_js),
    ]
}

extension ConsolePage.Asset {
    fileprivate init(type: String, bytes: [UInt8]) {
        self.contentType = type
        self.bytes = ByteBuffer(bytes: bytes)
        // FNV-1a: it only has to differ between versions.
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        self.etag = String(hash, radix: 16)
    }
}
