import HTTPTypes

/// What every answer tells browsers.
enum SecurityHeaders {
    static let policy = HTTPField.Name.contentSecurityPolicy
    /// Nothing may be loaded by, or around, what an API answers.
    static let defaultPolicy = "default-src 'none'; frame-ancestors 'none'"

    static let all: [(HTTPField.Name, String)] = [
        ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ].compactMap { name, value in HTTPField.Name(name).map { ($0, value) } }
}
