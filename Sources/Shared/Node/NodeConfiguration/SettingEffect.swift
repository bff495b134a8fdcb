/// When a changed setting counts, after the configuration was read again.
package enum SettingEffect: String, Sendable, CaseIterable {
    /// At once.
    case now
    /// For streams and sessions that begin from then on.
    case newSessions = "new_sessions"
    /// At the next start of the program.
    case restart
}

extension SettingSchema {
    /// By section, and by key where a key differs from its section. Every section is there; a test sees to it.
    static let effects: [String: SettingEffect] = [
        "": .restart,
        "node": .restart,
        "log": .restart, "log.level": .now,
        "shutdown": .restart,
        "limits": .now,
        "rtmp": .restart,
        "http": .restart, "http.trusted_proxies": .now,
        "rtc": .restart, "rtc.ice_servers": .now, "rtc.ice_username": .now, "rtc.ice_credential": .now,
        "srt": .restart,
        "ts": .restart,
        "rtsp": .restart,
        "gb28181": .restart,
        "api": .restart, "api.token": .now, "api.username": .now, "api.password": .now,
        "access": .newSessions,
        "hooks": .restart,
        "heartbeat": .restart,
        "metrics": .now,
        "cluster": .restart,
        "edge": .restart,
        "media": .restart,
        "stream": .newSessions,
        "coordinator": .restart,
    ]

    /// When a change of `key`, a full path, counts. Keys of vhosts are keys of `stream`.
    static func effect(of key: String) -> SettingEffect {
        if let own = self.effects[key] { return own }
        guard let dot = key.firstIndex(of: ".") else { return self.effects[""] ?? .restart }
        let section = String(key[..<dot])
        return self.effects[section.hasPrefix("vhosts") ? "stream" : section] ?? .restart
    }
}
