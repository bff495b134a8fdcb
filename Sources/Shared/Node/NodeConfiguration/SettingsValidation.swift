import NIOCore

extension NodeSettings {
    /// What contradicts what, across keys. Each message names every key that takes part.
    ///
    /// The location of the returned problems is `.defaults`; the loader replaces it by the place of their key.
    package func validate() -> [ConfigurationProblem] {
        var found = Contradictions()
        switch self.role {
        case .coordinator:
            self.checkCoordinator(&found)
            self.checkTLS("coordinator.tls", self.coordinator.tls, &found)
        case .origin, .edge:
            self.checkRTC(&found)
            self.checkSRT(&found)
            self.checkRTSP(&found)
            self.checkTLS("rtsp.tls", self.rtsp.tls, &found)
            self.checkGB28181(&found)
            self.checkListeners(&found)
            self.checkTLS("rtmp.tls", self.rtmp.tls, &found)
            self.checkTLS("http.tls", self.http.tls, &found)
            self.checkTLS("api.tls", self.api.tls, &found)
            self.checkAPI(&found)
            self.checkAccess(&found)
            self.checkCluster(&found)
            self.checkVhosts(&found)
            self.checkStreams(&found)
        }
        return found.problems
    }

    /// The files that the settings name and that cannot be read.
    func unreadableFiles(_ isReadable: (String) -> Bool) -> [ConfigurationProblem] {
        let files =
            self.role == .coordinator
            ? [
                ("coordinator.tls.certificate", self.coordinator.tls.certificate),
                ("coordinator.tls.key", self.coordinator.tls.key),
            ]
            : [
                ("rtmp.tls.certificate", self.rtmp.tls.certificate), ("rtmp.tls.key", self.rtmp.tls.key),
                ("http.tls.certificate", self.http.tls.certificate), ("http.tls.key", self.http.tls.key),
                ("api.tls.certificate", self.api.tls.certificate), ("api.tls.key", self.api.tls.key),
                ("rtsp.tls.certificate", self.rtsp.tls.certificate), ("rtsp.tls.key", self.rtsp.tls.key),
                ("rtc.certificate", self.rtc.certificate), ("rtc.key", self.rtc.key),
                ("access.jwt.public_key", self.access.jwt.publicKey),
            ]
        return files.filter { !$0.1.isEmpty && !isReadable($0.1) }.map { key, path in
            ConfigurationProblem(key: key, location: .defaults, reason: .unreadable(path))
        }
    }

    private func checkCoordinator(_ found: inout Contradictions) {
        let settings = self.coordinator
        let listeners =
            [("coordinator.listen", settings.listen)] + settings.tls.listen.map { ("coordinator.tls.listen", $0) }
        for (key, address) in listeners where !address.isLoopback && self.cluster.secret.isEmpty {
            found.add(key, "\(address) can be reached from other machines, so cluster.secret has to be set")
        }
        Self.checkPorts(listeners.map { (key: $0.0, addresses: [$0.1]) }, &found)
        if settings.database.isEmpty {
            found.add("coordinator.database", "the path of the database is empty")
        }
        if settings.suspectAfter >= settings.deadAfter {
            found.add(
                "coordinator.suspect_after",
                "\(DurationText.write(settings.suspectAfter)) is not shorter than coordinator.dead_after "
                    + "(\(DurationText.write(settings.deadAfter)))")
        }
        if self.cluster.heartbeat >= settings.suspectAfter {
            found.add(
                "coordinator.suspect_after",
                "\(DurationText.write(settings.suspectAfter)) is not longer than cluster.heartbeat "
                    + "(\(DurationText.write(self.cluster.heartbeat))), so every node would be suspect")
        }
        if settings.lease < settings.deadAfter {
            found.add(
                "coordinator.lease",
                "\(DurationText.write(settings.lease)) is shorter than coordinator.dead_after "
                    + "(\(DurationText.write(settings.deadAfter))), so claims would end before their nodes are dead")
        }
    }

    private func checkListeners(_ found: inout Contradictions) {
        if self.rtmp.maximumPartialBytes < self.rtmp.maximumMessageBytes {
            found.add(
                "rtmp.maximum_partial_bytes",
                "\(self.rtmp.maximumPartialBytes) bytes have no room for a message of rtmp.maximum_message_size "
                    + "(\(self.rtmp.maximumMessageBytes) bytes)")
        }
        let media: [(key: String, addresses: [ListenAddress])] = [
            ("rtmp.listen", self.rtmp.listen), ("rtmp.tls.listen", self.rtmp.tls.listen),
            ("http.listen", self.http.listen), ("http.tls.listen", self.http.tls.listen),
        ]
        if media.allSatisfy(\.addresses.isEmpty) {
            let keys = media.map(\.key).joined(separator: ", ")
            found.add("rtmp.listen", "the \(self.role.rawValue) would serve nobody: \(keys) are all empty")
        }
        let listeners =
            media + self.rtspListeners + [("api.listen", [self.api.listen]), ("api.tls.listen", self.api.tls.listen)]
        Self.checkPorts(listeners, &found)
        self.checkRTCPorts(others: listeners, &found)
    }

    private static func checkPorts(
        _ listeners: [(key: String, addresses: [ListenAddress])], _ found: inout Contradictions
    ) {
        var taken: [(key: String, address: ListenAddress)] = []
        for (key, addresses) in listeners {
            for address in addresses {
                if let other = taken.first(where: { $0.address.overlaps(address) }) {
                    let which = other.key == key ? "" : " of \(other.key)"
                    found.add(key, "\(address) takes the same port as \(other.address)\(which)")
                }
                taken.append((key, address))
            }
        }
    }

    private func checkTLS(_ section: String, _ tls: TLSSettings, _ found: inout Contradictions) {
        let files = [("\(section).certificate", tls.certificate), ("\(section).key", tls.key)]
        for (key, path) in files {
            if !tls.listen.isEmpty, path.isEmpty {
                found.add("\(section).listen", "TLS needs \(key), which is not set")
            }
            if tls.listen.isEmpty, !path.isEmpty {
                found.add(key, "the file is not used, because \(section).listen is empty")
            }
        }
    }

    private func checkCluster(_ found: inout Contradictions) {
        let cluster = self.cluster
        if let remote = cluster.coordinator.first(where: { !$0.isLoopback }), cluster.secret.isEmpty {
            found.add("cluster.coordinator", "\(remote) is on another machine, so cluster.secret has to be set")
        }
        if self.role == .edge, cluster.coordinator.isEmpty, cluster.origins.isEmpty {
            found.add(
                "cluster.coordinator",
                "an edge needs somewhere to pull streams from: set cluster.coordinator, cluster.origins, or both")
        }
    }

    /// The folders of files, and every set of `stream` keys.
    private func checkStreams(_ found: inout Contradictions) {
        let sets = self.streamSets
        for (key, folder) in [("media.directory", self.media.directory), ("media.recordings", self.media.recordings)]
        where self.role == .origin && (folder.isEmpty || folder.allSatisfy { $0 == "/" || $0 == "." }) {
            found.add(key, "\"\(folder)\" is no folder for files of streams")
        }
        let isClustered = !self.cluster.coordinator.isEmpty || !self.cluster.origins.isEmpty
        for (prefix, settings) in sets {
            if !settings.play.urlSecret.isEmpty, isClustered, self.cluster.secret.isEmpty {
                found.add(
                    "\(prefix).play.url_secret",
                    "nodes have no signed paths: cluster.secret has to be set, by which they know each other")
            }
            let interval = settings.snapshot.interval
            if interval > .zero, interval < .seconds(1) {
                found.add(
                    "\(prefix).snapshot.interval",
                    "\(DurationText.write(interval)) is too often for pictures: 0 for none, or 1s and more")
            }
        }
        for (prefix, settings) in sets where settings.hls.enabled {
            let hls = settings.hls
            if hls.dvrWindow > .zero, !hls.disk {
                found.add(
                    "\(prefix).hls.dvr_window", "a DVR window is kept on disk, so \(prefix).hls.disk has to be true")
            }
            if hls.lowLatency, hls.container == .fmp4, hls.partDuration + hls.partDuration > hls.segmentDuration {
                found.add(
                    "\(prefix).hls.part_duration",
                    "\(DurationText.write(hls.partDuration)) leaves less than two parts in a segment of "
                        + "\(prefix).hls.segment_duration (\(DurationText.write(hls.segmentDuration)))")
            }
        }
    }

    private func checkVhosts(_ found: inout Contradictions) {
        var names: [String: Int] = [:]
        var domains: [DomainPattern: Int] = [:]
        for (index, vhost) in self.vhosts.enumerated() {
            if let other = names.updateValue(index, forKey: vhost.name.lowercased()) {
                found.add("vhosts[\(index)].name", "\"\(vhost.name)\" is also vhosts[\(other)].name")
            }
            for domain in vhost.domains {
                if let other = domains.updateValue(index, forKey: domain) {
                    found.add("vhosts[\(index)].domains", "\"\(domain)\" is also in vhosts[\(other)].domains")
                }
            }
        }
    }
}

struct Contradictions {
    private(set) var problems: [ConfigurationProblem] = []

    mutating func add(_ key: String, _ text: String) {
        self.problems.append(ConfigurationProblem(key: key, location: .defaults, reason: .contradiction(text)))
    }
}

extension ListenAddress {
    /// Whether two listeners cannot both exist: the same port on the same address or on all addresses. `0.0.0.0` is all
    /// of IPv4, `::` all of both; a name may stand for either.
    func overlaps(_ other: ListenAddress) -> Bool {
        guard self.port == other.port, self.port != 0 else { return false }
        return self.host == other.host || self.covers(other) || other.covers(self)
    }

    private func covers(_ other: ListenAddress) -> Bool {
        self.isWildcard && (self.host.contains(":") || !other.host.contains(":"))
    }
}
