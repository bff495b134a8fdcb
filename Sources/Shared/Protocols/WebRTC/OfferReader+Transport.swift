import SDP

extension OfferReader {
    /// The one transport of all sections.
    struct Transport {
        let ice: ICECredentials
        let fingerprints: [CertificateFingerprint]
        let isClient: Bool
    }

    /// Reads it from the first section that states it, which in an offer with `bundle-only` sections may be one that we
    /// refuse; else from the session. Spec: RFC 9143 §7.1.3.
    func transport(
        of sections: [NegotiatedSection], first: NegotiatedSection, local: LocalDescription
    ) throws(NegotiationError) -> Transport {
        let line = self.line(self.offer.media[first.index], index: first.index)
        guard let ufrag = self.values("ice-ufrag", of: sections).first,
            let password = self.values("ice-pwd", of: sections).first
        else { throw .missingICECredentials(line) }
        let ice = ICECredentials(ufrag: ufrag, password: password)
        guard ice.isValid else { throw .invalidICECredentials(line) }
        let stated = self.values("fingerprint", of: sections)
        guard !stated.isEmpty else { throw .missingFingerprint(line) }
        let fingerprints = stated.compactMap { CertificateFingerprint(parsing: $0) }
            .filter { Self.digestLengths[$0.hash] == $0.digest.count }
        guard !fingerprints.isEmpty else {
            let hashes = stated.prefix(8).map { value in String(value.prefix { $0 != " " }.prefix(32)) }
            throw .unsupportedFingerprint(line, hashes: hashes)
        }
        let isClient: Bool
        switch self.values("setup", of: sections).first {
        case "actpass": isClient = local.preferredSetup == .active
        case "passive": isClient = true
        // RFC 4145 §4: without the attribute the offerer is active.
        case "active", nil: isClient = false
        case .some(let other): throw .unsupportedSetup(line, setup: String(other.prefix(32)))
        }
        return Transport(ice: ice, fingerprints: Array(fingerprints.prefix(8)), isClient: isClient)
    }

    /// Bytes of the digests that DTLS compares certificates by; with others alone no handshake could end well.
    /// Spec: RFC 8122 §5.
    private static let digestLengths = ["sha-1": 20, "sha-256": 32, "sha-384": 48, "sha-512": 64]

    private func values(_ name: String, of sections: [NegotiatedSection]) -> [String] {
        var places = sections.map { self.offer.media[$0.index] }
        if let tag = self.offer.groups.first(where: { $0.semantics == "BUNDLE" })?.mids.first {
            places += self.offer.media.filter { $0.mid == tag }
        }
        for media in places {
            let values = media.attributes.all(name)
            if !values.isEmpty { return values }
        }
        return self.offer.attributes.all(name)
    }
}
