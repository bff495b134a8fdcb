import Placement

/// How many edges a cluster needs: the settings, and the rule.
package struct DesiredEdges: Sendable, Hashable {
    /// Viewers that one edge is meant to serve; 0 when the number of viewers does not count.
    package var viewersPerEdge: Int
    /// Bits a second that one edge is meant to send; 0 when the bit rate does not count.
    package var egressBitsPerEdge: UInt64
    package var minimumEdges: Int
    /// The used share of their scarcest resource that edges are meant to have, above 0 and at most 1.
    package var targetLoad: Double

    package init(
        viewersPerEdge: Int = 0, egressBitsPerEdge: UInt64 = 0, minimumEdges: Int = 1, targetLoad: Double = 0.6
    ) {
        self.viewersPerEdge = viewersPerEdge
        self.egressBitsPerEdge = egressBitsPerEdge
        self.minimumEdges = minimumEdges
        self.targetLoad = targetLoad
    }

    var isValid: Bool {
        self.viewersPerEdge >= 0 && self.minimumEdges >= 0 && self.targetLoad > 0 && self.targetLoad <= 1
    }

    /// What the rule looks at: the edges that are alive and not drained.
    struct Inputs: Sendable, Hashable, Codable {
        var edges = 0
        var viewers = 0
        var egressBitsPerSecond: UInt64 = 0
        var meanUtilisation = 0.0
        var highestUtilisation = 0.0
        var viewersPerEdge = 0
        var egressBitsPerEdge: UInt64 = 0
        var targetLoad = 0.0
        var minimumEdges = 0
    }

    /// Which input asks for the most edges.
    enum Reason: String, Sendable, Hashable, Codable {
        case minimum, viewers, egress, load
    }

    /// The largest number that any input asks for, and which one that is.
    ///
    /// By load, a cluster whose edges use the share u needs `edges × u ÷ targetLoad`: the work is spread evenly by
    /// whoever follows `routes/play`, so the mean is what counts.
    func decide(_ inputs: Inputs) -> (edges: Int, reason: Reason) {
        var best = (edges: self.minimumEdges, reason: Reason.minimum)
        func consider(_ edges: Double, _ reason: Reason) {
            // Less than a millionth of an edge is rounding.
            let whole = Int(min(max((edges - 1e-6).rounded(.up), 0), 1e9))
            if whole > best.edges { best = (whole, reason) }
        }
        if self.viewersPerEdge > 0 { consider(Double(inputs.viewers) / Double(self.viewersPerEdge), .viewers) }
        if self.egressBitsPerEdge > 0 {
            consider(Double(inputs.egressBitsPerSecond) / Double(self.egressBitsPerEdge), .egress)
        }
        consider(Double(inputs.edges) * inputs.meanUtilisation / self.targetLoad, .load)
        return best
    }
}
