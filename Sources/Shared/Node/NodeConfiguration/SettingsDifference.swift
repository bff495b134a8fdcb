/// One key whose value is not what it was.
package struct SettingChange: Sendable, Hashable {
    /// The full path; keys of vhosts as `vhosts.NAME.stream.latency` and `vhosts.NAME.apps.APP.latency`.
    package var key: String
    /// As in YAML, lists with commas. Secrets are `(set)`, or empty.
    package var old: String
    package var new: String
    package var effect: SettingEffect
}

/// What differs between two configurations of one role. Secrets do not appear in it.
package struct SettingsDifference: Sendable, Hashable {
    /// In the order of the reference, then those of vhosts.
    package private(set) var changes: [SettingChange] = []

    package init(from old: NodeSettings, to new: NodeSettings) {
        for section in SettingSchema.sections where section.roles.contains(new.role) {
            for field in section.fields { self.compare(field, old, new, key: field.name) }
        }
        self.compareVhosts(old, new)
    }

    package var isEmpty: Bool { self.changes.isEmpty }

    /// The keys whose new values wait for a restart.
    package var waitingForRestart: [String] { self.changes.filter { $0.effect == .restart }.map(\.key) }

    private mutating func compare<Root>(_ field: SettingField<Root>, _ old: Root, _ new: Root, key: String) {
        let before = field.write(old)
        let after = field.write(new)
        guard before != after else { return }
        self.changes.append(
            SettingChange(
                key: key, old: Self.text(before, field.isSecret), new: Self.text(after, field.isSecret),
                effect: SettingSchema.effect(of: key)))
    }

    private static func text(_ values: [String], _ isSecret: Bool) -> String {
        isSecret ? (values.contains { !$0.isEmpty } ? "(set)" : "") : values.joined(separator: ", ")
    }

    private mutating func compareVhosts(_ old: NodeSettings, _ new: NodeSettings) {
        for vhost in old.vhosts where !new.vhosts.contains(where: { $0.name == vhost.name }) {
            self.note("vhosts.\(vhost.name)", "(there)", "")
        }
        for vhost in new.vhosts {
            guard let before = old.vhosts.first(where: { $0.name == vhost.name }) else {
                self.note("vhosts.\(vhost.name)", "", "(there)")
                continue
            }
            let domains = [before, vhost].map { $0.domains.map(\.description).joined(separator: ", ") }
            if domains[0] != domains[1] { self.note("vhosts.\(vhost.name).domains", domains[0], domains[1]) }
            self.compareStream(
                before.stream, vhost.stream, base: (old.stream, new.stream), key: "vhosts.\(vhost.name).stream")
            for app in Set(before.apps.keys).union(vhost.apps.keys).sorted() {
                self.compareStream(
                    before.apps[app] ?? before.stream, vhost.apps[app] ?? vhost.stream,
                    base: (before.stream, vhost.stream), key: "vhosts.\(vhost.name).apps.\(app)")
            }
        }
        let orders = [old, new].map { $0.vhosts.map(\.name) }
        if orders[0] != orders[1], Set(orders[0]) == Set(orders[1]) {
            self.note("vhosts", orders[0].joined(separator: ", "), orders[1].joined(separator: ", "))
        }
    }

    /// What only followed a change above it is not named again.
    private mutating func compareStream(
        _ old: StreamSettings, _ new: StreamSettings, base: (old: StreamSettings, new: StreamSettings), key: String
    ) {
        for field in SettingSchema.stream {
            let before = field.write(old)
            let after = field.write(new)
            guard before != after, before != field.write(base.old) || after != field.write(base.new) else { continue }
            self.compare(field, old, new, key: "\(key).\(field.name)")
        }
    }

    private mutating func note(_ key: String, _ old: String, _ new: String) {
        self.changes.append(
            SettingChange(key: key, old: old, new: new, effect: SettingSchema.effect(of: "\(key).")))
    }
}

extension NodeSettings {
    /// These settings with what `new` changes and what may change while the program runs.
    package func taking(_ new: NodeSettings) -> NodeSettings {
        var result = self
        for section in SettingSchema.sections where section.roles.contains(self.role) {
            for field in section.fields where SettingSchema.effect(of: field.name) != .restart {
                let texts = field.write(new)
                guard texts != field.write(result) else { continue }
                do throws(SettingField<NodeSettings>.ElementProblem) {
                    try field.assign(texts, &result)
                } catch {
                    preconditionFailure("\(field.name) does not accept its own value: \(error.problem)")
                }
            }
        }
        result.vhosts = new.vhosts
        return result
    }
}

extension StreamSettings {
    /// Gives one key of the `stream` section, such as `publish.policy`, the value of a text; lists with commas.
    ///
    /// Throws a problem whose key is `stream.` and `key`: an unknown key, or a value that it does not take.
    package mutating func set(_ key: String, to text: String) throws(ConfigurationProblem) {
        let location = ConfigurationProblem.Location.defaults
        guard let field = SettingSchema.stream.first(where: { $0.name == key }) else {
            let nearest = Spelling.nearest(to: key, among: SettingSchema.stream.map(\.name))
            throw ConfigurationProblem(key: "stream.\(key)", location: location, reason: .unknownKey(nearest: nearest))
        }
        var texts = [text]
        if field.isList { texts = text.split(separator: ",").map { String($0).trimmed }.filter { !$0.isEmpty } }
        do throws(SettingField<StreamSettings>.ElementProblem) {
            try field.assign(texts, &self)
        } catch {
            let found = field.isSecret ? "\(Secret(texts[error.index]))" : texts[error.index]
            throw ConfigurationProblem(
                key: "stream.\(key)", location: location,
                reason: ConfigurationLoader.reason(error.problem, found: found))
        }
    }
}
