import FoundationEssentials
package import NIOCore
import Packaging
import Playlists

/// The multivariant playlist over one stream or several of a group.
package enum GroupPlaylist {
    /// The playlist of a group whose members other nodes told of: their folders, and their `_info.json`. A member that
    /// cannot be read is left out; `nil` if that leaves none.
    package static func playlist(of members: [(folder: String, info: ByteBuffer)]) -> ByteBuffer? {
        let readable = members.compactMap { member in
            (try? JSONDecoder().decode(VariantFacts.self, from: Data(member.info.readableBytesView))).map {
                VariantMember(folder: member.folder, facts: $0)
            }
        }
        guard !readable.isEmpty else { return nil }
        var bytes = ByteBuffer()
        self.write(readable, rewindSeconds: nil, into: &bytes)
        return bytes
    }

    /// Renders the playlist. `rewindSeconds` goes on to the media playlists.
    static func write(_ members: [VariantMember], rewindSeconds: Int?, into buffer: inout ByteBuffer) {
        var playlist = MultivariantPlaylist(members: members)
        if let rewindSeconds {
            for index in playlist.variants.indices { playlist.variants[index].uri += "?dvr=\(rewindSeconds)" }
            for index in playlist.audioRenditions.indices {
                playlist.audioRenditions[index].uri = playlist.audioRenditions[index].uri.map {
                    "\($0)?dvr=\(rewindSeconds)"
                }
            }
        }
        playlist.write(into: &buffer)
    }
}
