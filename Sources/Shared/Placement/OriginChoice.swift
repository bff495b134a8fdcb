package import Media

/// Chooses the origin for a stream that is not placed yet.
///
/// Bounded-load rendezvous hashing: of the origins below `busyAt`, every asker picks the same one for the same key,
/// and an origin that joins or leaves moves only its own share. When all are busy, the better of two random ones
/// gets it, which avoids herding on the one that looks best. The asker's region weighs in both times.
package enum OriginChoice {
    /// Used share of the scarcest resource from which on a node is no longer chosen by hash.
    package static let busyAt = 0.6
    /// What an origin in another region counts as more loaded than it is.
    package static let regionPenalty = 0.1

    package struct Candidate: Sendable, Hashable {
        package var node: NodeDescription
        package var utilisation: Double
        /// Heard in time. The others are chosen only when nobody else is left.
        package var isHealthy: Bool

        package init(node: NodeDescription, utilisation: Double, isHealthy: Bool = true) {
            self.node = node
            self.utilisation = utilisation
            self.isHealthy = isHealthy
        }
    }

    /// All of `candidates`, the chosen one first, the others in the order in which to try them.
    ///
    /// `draws` are two random numbers; they matter only when every candidate is busy.
    package static func rank(
        _ candidates: [Candidate], for key: StreamKey, region: String, draws: (UInt64, UInt64)
    ) -> [NodeDescription] {
        let hashed = candidates.map { candidate in
            (
                candidate: candidate, tier: self.tier(of: candidate, region: region),
                score: StableHash.hash(key.vhost, key.app, key.name, candidate.node.id.rawValue)
            )
        }
        let ordered = hashed.sorted { left, right in
            if left.tier != right.tier { return left.tier < right.tier }
            if left.score != right.score { return left.score > right.score }
            return left.candidate.node.id.rawValue < right.candidate.node.id.rawValue
        }
        guard let first = ordered.first else { return [] }
        var nodes = ordered.map(\.candidate)
        if first.tier == Self.busyTier {
            let busy = ordered.count { $0.tier == Self.busyTier }
            let chosen = self.betterOfTwo(nodes[..<busy], region: region, draws: draws)
            nodes.swapAt(0, chosen)
        }
        return nodes.map(\.node)
    }

    private static let busyTier = 2

    private static func tier(of candidate: Candidate, region: String) -> Int {
        guard candidate.isHealthy else { return 3 }
        guard candidate.utilisation < self.busyAt else { return self.busyTier }
        return region.isEmpty || candidate.node.region == region ? 0 : 1
    }

    private static func betterOfTwo(
        _ candidates: ArraySlice<Candidate>, region: String, draws: (UInt64, UInt64)
    ) -> Int {
        let count = UInt64(candidates.count)
        let first = Int(draws.0 % count)
        // The second is drawn from the others, so that two of two are really compared.
        let second = count > 1 ? (first + 1 + Int(draws.1 % (count - 1))) % Int(count) : first
        func weight(_ index: Int) -> Double {
            let candidate = candidates[candidates.startIndex + index]
            let isNear = region.isEmpty || candidate.node.region == region
            return candidate.utilisation + (isNear ? 0 : self.regionPenalty)
        }
        return weight(second) < weight(first) ? second : first
    }
}
