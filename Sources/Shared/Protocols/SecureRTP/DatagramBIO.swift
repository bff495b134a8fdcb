import COpenSSL

/// OpenSSL's way to an endpoint's datagrams: one write is one datagram, and a read takes the whole of one. Its own
/// memory BIOs lose where a datagram ends.
enum DatagramBIO {
    /// The functions, shared by all endpoints of a configuration. The BIO's data is the endpoint, not retained: it
    /// owns the BIO, and OpenSSL calls these only from within the endpoint's calls.
    static func makeMethod() -> OpaquePointer? {
        guard
            let method = unsafe BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagrams of an endpoint")
        else { return nil }
        _ = unsafe BIO_meth_set_create(method) { bio in
            unsafe BIO_set_init(bio, 1)
            return 1
        }
        _ = unsafe BIO_meth_set_write(method) { bio, bytes, count in
            // Safety: OpenSSL passes `count` readable bytes.
            unsafe DatagramBIO.endpoint(of: bio)?.wrote(UnsafeRawBufferPointer(start: bytes, count: Int(count)))
            return count
        }
        _ = unsafe BIO_meth_set_read(method) { bio, bytes, count in
            unsafe weir_BIO_clear_retry_flags(bio)
            // Safety: OpenSSL passes room for `count` bytes.
            let room = unsafe UnsafeMutableRawBufferPointer(start: bytes, count: Int(count))
            guard let taken = unsafe DatagramBIO.endpoint(of: bio)?.takeInput(into: room) else {
                unsafe weir_BIO_set_retry_read(bio)
                return -1
            }
            return Int32(truncatingIfNeeded: taken)
        }
        _ = unsafe BIO_meth_set_ctrl(method) { bio, command, _, _ in
            switch command {
            case BIO_CTRL_FLUSH: 1
            case BIO_CTRL_DGRAM_QUERY_MTU: unsafe DatagramBIO.endpoint(of: bio)?.maximumDatagramLength ?? 0
            default: 0
            }
        }
        return unsafe method
    }

    private static func endpoint(of bio: OpaquePointer?) -> DTLSEndpoint? {
        guard let data = unsafe BIO_get_data(bio) else { return nil }
        // Safety: set by the endpoint that owns the BIO and lives as long.
        return unsafe Unmanaged<DTLSEndpoint>.fromOpaque(data).takeUnretainedValue()
    }
}
