import Access
import NIOCore

/// libFuzzer's entry: the first byte chooses the parser, the rest is its input.
///
/// What is read must also survive being written and read again.
@c(LLVMFuzzerTestOneInput)
public func fuzzAccess(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    let text = String(buffer: input)
    switch choice % 6 {
    case 0: readRange(text)
    case 1: readEndpoint(text)
    case 2: readHosts(text)
    case 3: readToken(text)
    case 4: _ = AccessQuery.value(of: "token", in: text)
    default: readProxies(text)
    }
    return 0
}

private func readRange(_ text: String) {
    guard let range = try? CIDR(parsing: text) else { return }
    precondition((try? CIDR(parsing: "\(range)")) == range, "a range that was written was not read")
    precondition(range.isAll || range.contains(range.address), "a range does not hold its first address")
}

private func readEndpoint(_ text: String) {
    guard let address = IPAddress(endpoint: text) else { return }
    precondition((try? IPAddress(parsing: "\(address)")) == address, "an address that was written was not read")
}

/// The input is a pattern, a line break and a referer.
private func readHosts(_ text: String) {
    let parts = text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard let first = parts.first, let pattern = try? HostPattern(parsing: first) else { return }
    precondition((try? HostPattern(parsing: "\(pattern)")) == pattern, "a pattern that was written was not read")
    let rule = RefererRule(allow: [pattern], allowsEmpty: false)
    _ = rule.verdict(parts.last ?? "")
}

private func readToken(_ text: String) {
    guard let token = try? SignedToken(parsing: text) else { return }
    precondition(Array(text.utf8).starts(with: token.signedText), "what was signed is not the token's beginning")
    precondition(token.header.count + token.payload.count + token.signature.count <= text.utf8.count * 3 / 4 + 3)
}

private func readProxies(_ text: String) {
    guard let trusted = try? CIDR(parsing: "10.0.0.0/8"), let peer = IPAddress(endpoint: "10.0.0.1") else { return }
    let client = ForwardedFor.client(of: peer, field: text, trusted: [trusted])
    precondition(client == peer || text.utf8.count <= 1_024)
}
