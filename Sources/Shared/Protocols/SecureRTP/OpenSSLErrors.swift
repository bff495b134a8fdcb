import COpenSSL

/// What OpenSSL's error queue of this thread says.
enum OpenSSLErrors {
    /// Forgets what earlier calls, of whomever, left in the queue of this thread.
    static func clear() {
        ERR_clear_error()
    }

    /// The reason of the first error in the queue, which is the cause of the others, and empties the queue.
    static func takeReason() -> String {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0 else { return "unknown" }
        // Safety: the text is a constant of the library that ends with a zero.
        if let text = unsafe ERR_reason_error_string(code) { return unsafe String(cString: text) }
        return "error \(code)"
    }
}
