package import NIOCore

/// The page with the list of live streams and the player, which every origin and edge serves at `/`, and the page that
/// publishes from a browser, at `/publish.html`.
///
/// Its files are part of the program (`Page/` is embedded), need nothing from elsewhere and refer to each other and to
/// `api/streams.json` by relative addresses, so the page also works below a path that a proxy puts in front.
package enum PlayerPage {
    /// A file as HTTP answers with it.
    package struct Asset: Sendable {
        package let contentType: String
        package let bytes: ByteBuffer
        /// A strong validator without quotes: a hash of the bytes.
        package let etag: String
    }

    /// Where there are files.
    package static var paths: [String] { self.assets.keys.sorted() }

    /// The file at `path`, which begins with `/` and has no query; `nil` if the page has none there.
    ///
    /// The answers never change while a program runs, but do with the next version: `Cache-Control: no-cache` with the
    /// validator keeps the files together.
    package static func asset(path: String) -> Asset? { self.assets[path] }

    private static let assets: [String: Asset] = {
        let html = Asset(type: "text/html; charset=utf-8", bytes: PackageResources.index_html)
        var assets = ["/": html, "/index.html": html]
        assets["/publish.html"] = Asset(type: "text/html; charset=utf-8", bytes: PackageResources.publish_html)
        assets["/player.css"] = Asset(type: "text/css; charset=utf-8", bytes: PackageResources.player_css)
        assets["/publish.css"] = Asset(type: "text/css; charset=utf-8", bytes: PackageResources.publish_css)
        assets["/favicon.svg"] = Asset(type: "image/svg+xml", bytes: PackageResources.favicon_svg)
        let scripts = [
            ("/player.js", PackageResources.player_js), ("/player-buffer.js", PackageResources.player_buffer_js),
            ("/player-flv.js", PackageResources.player_flv_js), ("/player-hls.js", PackageResources.player_hls_js),
            ("/player-mp4.js", PackageResources.player_mp4_js),
            ("/player-native.js", PackageResources.player_native_js),
            ("/player-playlist.js", PackageResources.player_playlist_js),
            ("/player-whep.js", PackageResources.player_whep_js), ("/publish.js", PackageResources.publish_js),
            ("/publish-sources.js", PackageResources.publish_sources_js),
            ("/publish-whip.js", PackageResources.publish_whip_js),
            ("/webrtc-session.js", PackageResources.webrtc_session_js),
            ("/webrtc-silence.js", PackageResources.webrtc_silence_js),
            ("/webrtc-stats.js", PackageResources.webrtc_stats_js),
        ]
        for (path, bytes) in scripts {
            assets[path] = Asset(type: "text/javascript; charset=utf-8", bytes: bytes)
        }
        return assets
    }()
}

extension PlayerPage.Asset {
    fileprivate init(type: String, bytes: [UInt8]) {
        self.contentType = type
        self.bytes = ByteBuffer(bytes: bytes)
        // FNV-1a: it only has to differ between versions.
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        self.etag = String(hash, radix: 16)
    }
}
