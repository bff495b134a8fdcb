import NIOCore

@testable import Playlists

extension MediaPlaylist {
    func text(delta: Delta? = nil) -> String {
        var buffer = ByteBuffer()
        self.write(into: &buffer, delta: delta)
        return String(buffer: buffer)
    }

    func lines(delta: Delta? = nil) -> [String] {
        self.text(delta: delta).split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }
}

extension MultivariantPlaylist {
    var text: String {
        var buffer = ByteBuffer()
        self.write(into: &buffer)
        return String(buffer: buffer)
    }
}

extension DASHManifest {
    var text: String {
        var buffer = ByteBuffer()
        self.write(into: &buffer)
        return String(buffer: buffer)
    }
}

/// 2026-11-22T00:20:30.000Z
let someMillis: Int64 = 1_795_306_830_000
