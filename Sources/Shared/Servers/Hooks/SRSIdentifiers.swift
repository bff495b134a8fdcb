package import Media

/// The ids that SRS's API and hooks use for servers, vhosts and streams: `vid-` and 7 characters of `a–z 0–9`.
///
/// SRS draws them at random; here they are functions of the names, so that a stream has the same id on all nodes, after
/// a restart, in hooks and in the API.
package enum SRSIdentifiers {
    /// `stream_id` of hooks, `id` in `/api/v1/streams`.
    package static func stream(_ key: StreamKey) -> String { self.id("stream", key.vhost, key.app, key.name) }

    /// `id` in `/api/v1/vhosts`.
    package static func vhost(_ name: String) -> String { self.id("vhost", name) }

    /// `server_id` of hooks, `server` of the API.
    package static func server(node: String) -> String { self.id("server", node) }

    /// FNV-1a of the parts, mixed (MurmurHash3's finalizer), in base 36. Parts end with a byte that names cannot contain.
    private static func id(_ parts: String...) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for part in parts {
            for byte in part.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            hash = (hash ^ 0) &* 0x100_0000_01b3
        }
        hash = (hash ^ (hash >> 33)) &* 0xff51_afd7_ed55_8ccd
        hash = (hash ^ (hash >> 33)) &* 0xc4ce_b9fe_1a85_ec53
        hash ^= hash >> 33
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)
        var digits: [UInt8] = []
        for _ in 0..<7 {
            digits.append(alphabet[Int(hash % 36)])
            hash /= 36
        }
        return "vid-" + String(decoding: digits, as: UTF8.self)
    }
}
