@testable import NodeConfiguration

/// Tests of what an origin's `weir.yaml` says.
protocol OriginFileTests {}

extension OriginFileTests {
    func load(_ yaml: String) throws(ConfigurationError) -> NodeSettings {
        try ConfigurationLoader.load(role: .origin, file: .init(path: "weir.yaml", text: yaml))
    }

    /// What is said of a file that cannot be used; empty for one that can.
    func problems(_ yaml: String) -> [String] {
        do throws(ConfigurationError) {
            _ = try self.load(yaml)
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }
}
