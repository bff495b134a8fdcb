import NIOCore

/// The description of the API, which is part of the program.
enum OpenAPIDocument {
    static let bytes = ByteBuffer(bytes: PackageResources.openapi_json)

    /// FNV-1a in hexadecimal: it only has to differ between versions.
    static let etag: String = {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in PackageResources.openapi_json { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return String(hash, radix: 16)
    }()
}
