package import NIOCore

extension SocketAddress {
    /// Address and port as logs and the API print them.
    package var peerDescription: String {
        guard let address = self.ipAddress, let port = self.port else { return self.pathname ?? "unknown" }
        return address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
    }
}
