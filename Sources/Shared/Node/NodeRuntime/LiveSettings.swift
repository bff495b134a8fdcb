package import Media
package import NodeConfiguration
package import Placement
import Synchronization

/// The settings in force: those of file, environment and flags, with the cluster's policies over them.
///
/// They can be read again while the program runs; the whole is checked before anything changes, and a mistake changes
/// nothing. Streams and sessions keep what they began with. Any thread may call.
package final class LiveSettings: Sendable {
    /// Apps whose settings under policies are kept ready.
    private static let overlayCapacity = 4_096

    /// Where a reload is.
    package enum Phase: Sendable, Equatable {
        /// There was none.
        case none
        case loading
        case applying
        /// It is over. `problems`: what was wrong, and changed nothing; empty after a success.
        case finished(problems: [String])
    }

    /// The last reload: its number, from 1, and where it is.
    package struct ReloadState: Sendable, Equatable {
        package var id: Int
        package var phase: Phase
    }

    /// Reloads that are over, since the start.
    package struct ReloadCounts: Sendable, Equatable {
        package var succeeded: UInt64 = 0
        package var failed: UInt64 = 0
    }

    private struct Scope: Hashable {
        var vhost: String
        var app: String
    }

    private struct State {
        var settings: NodeSettings
        var policies = PolicyList(revision: 0, policies: [])
        /// Settings of apps under policies.
        var overlays: [Scope: StreamSettings] = [:]
        var reload = ReloadState(id: 0, phase: .none)
        var counts = ReloadCounts()
        var running: Task<ReloadReport, Never>?
        var observers: [@Sendable (NodeSettings) -> Void] = []
    }

    private let load: @Sendable () throws(ConfigurationError) -> NodeSettings
    private let state: Mutex<State>

    /// - Parameters:
    ///   - settings: with which the program started.
    ///   - load: reads them again. Runs on a thread of Swift's pool, and may block it for a disk read.
    package init(
        _ settings: NodeSettings, load: @escaping @Sendable () throws(ConfigurationError) -> NodeSettings
    ) {
        self.state = Mutex(State(settings: settings))
        self.load = load
    }

    /// What a program runs with.
    package convenience init(_ settings: NodeSettings, source: ConfigurationSource) {
        self.init(settings) { () throws(ConfigurationError) in try source.load() }
    }

    /// The settings in force, without policies. Values that need a restart are those of the start.
    package var current: NodeSettings { self.state.withLock { $0.settings } }

    /// Called after each change of `current`, from any thread. Cannot be taken back.
    package func onChange(_ body: @escaping @Sendable (NodeSettings) -> Void) {
        self.state.withLock { $0.observers.append(body) }
    }

    // MARK: Lookup

    /// The settings of one stream, with the policies of its vhost and app.
    package func streamSettings(for key: StreamKey) -> StreamSettings {
        self.streamSettings(vhost: key.vhost, app: key.app)
    }

    /// The settings of the streams of one app, with policies.
    package func streamSettings(vhost: String, app: String) -> StreamSettings {
        self.state.withLock { state in
            let base = state.settings.streamSettings(vhost: vhost, app: app)
            guard !state.policies.policies.isEmpty else { return base }
            let scope = Scope(vhost: vhost, app: app)
            if let known = state.overlays[scope] { return known }
            let settings = Self.overlay(state.policies.policies, on: base, vhost: vhost, app: app)
            if state.overlays.count >= Self.overlayCapacity { state.overlays.removeAll() }
            state.overlays[scope] = settings
            return settings
        }
    }

    /// See `NodeSettings.vhost(forDomain:)`.
    package func vhost(forDomain domain: String) -> String {
        self.state.withLock { $0.settings.vhost(forDomain: domain) }
    }

    /// `policies` are checked: every key of theirs is accepted.
    private static func overlay(
        _ policies: [StreamPolicy], on base: StreamSettings, vhost: String, app: String
    ) -> StreamSettings {
        var settings = base
        for policy in policies where (policy.vhost ?? vhost) == vhost && (policy.app ?? app) == app {
            for (key, value) in policy.settings.sorted(by: { $0.key < $1.key }) { try? settings.set(key, to: value) }
        }
        return settings
    }

    // MARK: Policies

    /// What is wrong with one policy of a list.
    package struct PolicyProblem: Sendable, Equatable, CustomStringConvertible {
        /// Its place in the list, from 0.
        package var index: Int
        package var problem: ConfigurationProblem

        package var description: String { "policy \(self.index): \(self.problem)" }
    }

    /// The policies in force.
    package var policies: PolicyList { self.state.withLock { $0.policies } }

    /// Puts the cluster's policies in force, for streams and sessions that begin from now on.
    ///
    /// A policy with a wrong key or value, or one that contradicts the node's settings, is left out as a whole; the
    /// others hold. Returns what was wrong.
    package func apply(_ list: PolicyList) -> [PolicyProblem] {
        self.state.withLock { state in
            var problems: [PolicyProblem] = []
            var accepted: [StreamPolicy] = []
            for (index, policy) in list.policies.enumerated() {
                let found = Self.problems(of: policy, over: state.settings)
                problems += found.map { PolicyProblem(index: index, problem: $0) }
                if found.isEmpty { accepted.append(policy) }
            }
            state.policies = PolicyList(revision: list.revision, policies: accepted)
            state.overlays.removeAll()
            return problems
        }
    }

    /// What is wrong with a policy on its own, or together with `settings`.
    package static func problems(of policy: StreamPolicy, over settings: NodeSettings) -> [ConfigurationProblem] {
        var found: [ConfigurationProblem] = []
        var result = settings
        for (key, value) in policy.settings.sorted(by: { $0.key < $1.key }) {
            do throws(ConfigurationProblem) {
                try result.stream.set(key, to: value)
            } catch {
                found.append(error)
            }
        }
        guard found.isEmpty else { return found }
        let before = settings.validate()
        return result.validate().filter { !before.contains($0) && $0.key.hasPrefix("stream.") }
    }

    // MARK: Reload

    /// The last reload.
    package var reloadState: ReloadState { self.state.withLock { $0.reload } }
    package var reloadCounts: ReloadCounts { self.state.withLock { $0.counts } }

    /// Reads everything again and puts in force what may change. Who calls while a reload runs gets its report.
    package func reload() async -> ReloadReport {
        await self.startReload().value
    }

    /// The same without waiting; the number tells it apart in `reloadState`.
    @discardableResult
    package func beginReload() -> Int {
        _ = self.startReload()
        return self.reloadState.id
    }

    private func startReload() -> Task<ReloadReport, Never> {
        self.state.withLock { state in
            if let running = state.running { return running }
            state.reload = ReloadState(id: state.reload.id + 1, phase: .loading)
            let id = state.reload.id
            // Who asked first may leave; the reload belongs to all who wait for it.
            let task = Task { self.performReload(id: id) }
            state.running = task
            return task
        }
    }

    private func performReload(id: Int) -> ReloadReport {
        var report = ReloadReport(id: id)
        do throws(ConfigurationError) {
            let new = try self.load()
            self.state.withLock { $0.reload.phase = .applying }
            report.changes = try self.put(new).changes
        } catch {
            report.problems = error.problems.map(\.description)
        }
        let (settings, observers) = self.state.withLock { state in
            state.reload.phase = .finished(problems: report.problems)
            if report.isApplied { state.counts.succeeded += 1 } else { state.counts.failed += 1 }
            state.running = nil
            return (state.settings, state.observers)
        }
        if report.problems.isEmpty { observers.forEach { $0(settings) } }
        return report
    }

    private func put(_ new: NodeSettings) throws(ConfigurationError) -> SettingsDifference {
        let old = self.current
        let difference = SettingsDifference(from: old, to: new)
        let mixed = old.taking(new)
        // New values may need others that only a restart brings.
        let contradictions = mixed.validate().map { problem in
            var problem = problem
            problem.reason = .contradiction("\(problem.reason) (without a restart)")
            return problem
        }
        guard contradictions.isEmpty else { throw ConfigurationError(problems: contradictions) }
        self.state.withLock { state in
            state.settings = mixed
            state.overlays.removeAll()
        }
        return difference
    }
}

/// What a reload did.
package struct ReloadReport: Sendable, Equatable {
    package var id: Int
    /// What differs from what was in force; `SettingChange.effect` says when it counts.
    package var changes: [SettingChange] = []
    /// What is wrong; nothing was changed then.
    package var problems: [String] = []

    package var isApplied: Bool { self.problems.isEmpty }

    package init(id: Int) { self.id = id }
}
