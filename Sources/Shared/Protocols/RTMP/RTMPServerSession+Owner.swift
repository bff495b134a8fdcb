package import AMF
package import NIOCore

// MARK: - Answers of the owner

/// Each answer is ignored unless the request that it answers is waiting, so an answer that comes after the connection
/// failed is harmless.
extension RTMPServerSession {
    /// Lets the client go on after `connectRequested`. `information` is added to the information object.
    package mutating func acceptConnect(information: [AMFProperty] = [], now: NIODeadline) {
        guard case .decidingConnect(let transactionID, let objectEncoding, let isEnhanced) = self.state else { return }
        self.link.announceWindow(self.configuration.windowAcknowledgementSize)
        self.link.announcePeerBandwidth(self.configuration.windowAcknowledgementSize)
        self.link.announceChunkSize(self.configuration.chunkSize)
        let enhanced = isEnhanced ? Self.enhancedProperties : []
        var data = [
            AMFProperty("version", "3,5,3,888"), AMFProperty("server", .string(self.configuration.serverName)),
        ]
        if !self.configuration.serverVersion.isEmpty {
            data.append(AMFProperty("server_version", .string(self.configuration.serverVersion)))
        }
        self.send(
            .result(
                transactionID,
                object: .object(
                    [
                        AMFProperty("fmsVer", "FMS/3,5,3,888"), AMFProperty("capabilities", 127),
                        AMFProperty("mode", 1),
                    ] + enhanced),
                .object(
                    [
                        AMFProperty("level", "status"), AMFProperty("code", "NetConnection.Connect.Success"),
                        AMFProperty("description", "Connection succeeded."),
                        AMFProperty("objectEncoding", .number(objectEncoding)),
                        AMFProperty("data", .ecmaArray(data)),
                    ] + enhanced + information)),
            streamID: 0)
        self.send(RTMPCommand(name: "onBWDone"), streamID: 0)
        self.enter(.idle(.ready), now: now)
        self.releaseHeld(now: now)
    }

    /// Refuses `connectRequested` and closes.
    package mutating func rejectConnect(
        code: String = "NetConnection.Connect.Rejected", description: String, information: [AMFProperty] = [],
        now: NIODeadline
    ) {
        guard case .decidingConnect(let transactionID, _, _) = self.state else { return }
        var error = RTMPCommand.status(
            code, level: .error, description: description, information: information, name: "_error")
        error.transactionID = transactionID
        self.send(error, streamID: 0)
        self.close()
    }

    /// Lets the client publish after `publishRequested`. `information` is added to the status object.
    package mutating func acceptPublish(information: [AMFProperty] = [], now: NIODeadline) {
        guard case .decidingPublish(let streamName) = self.state else { return }
        if self.expectsFCPublishAnswer {
            self.send(
                .status(
                    "NetStream.Publish.Start", description: "Started publishing stream.", name: "onFCPublish"),
                streamID: 0)
        }
        self.sendStatus(
            "NetStream.Publish.Start", description: "Started publishing stream.", details: streamName,
            information: [AMFProperty("clientid", "0")] + information)
        self.enter(.publishing(sawMedia: false), now: now)
        self.releaseHeld(now: now)
    }

    /// Refuses `publishRequested`. The client may try again for the time of `rejectionLinger`.
    package mutating func rejectPublish(
        code: String = "NetStream.Publish.BadName", description: String, information: [AMFProperty] = [],
        now: NIODeadline
    ) {
        guard case .decidingPublish = self.state else { return }
        self.sendStatus(code, level: .error, description: description, information: information)
        self.enter(.idle(.ended), now: now)
        self.releaseHeld(now: now)
    }

    /// Lets the client play after `playRequested`. Drain the outputs before the first media message is written.
    package mutating func acceptPlay(information: [AMFProperty] = [], now: NIODeadline) {
        guard case .decidingPlay(let reset) = self.state else { return }
        self.link.sendUserControl(RTMPUserControl.streamBegin, Self.messageStreamID)
        if reset {
            self.sendStatus(
                "NetStream.Play.Reset", description: "Playing and resetting stream.", details: "stream",
                information: [AMFProperty("clientid", "0")])
        }
        self.sendStatus(
            "NetStream.Play.Start", description: "Started playing stream.", details: "stream",
            information: [AMFProperty("clientid", "0")] + information)
        self.link.sendData(["|RtmpSampleAccess", true, true], timestamp: 0, streamID: Self.messageStreamID)
        self.enter(.playing, now: now)
        self.lastPing = now
        self.lastReceived = now
        self.releaseHeld(now: now)
    }

    /// Refuses `playRequested`. The client may try again for the time of `rejectionLinger`.
    ///
    /// A redirect is the code `NetConnection.Connect.Rejected` with an `ex` object that holds `code` 302 and `redirect`.
    package mutating func rejectPlay(
        code: String = "NetStream.Play.StreamNotFound", description: String, information: [AMFProperty] = [],
        now: NIODeadline
    ) {
        guard case .decidingPlay = self.state else { return }
        self.sendStatus(code, level: .error, description: description, information: information)
        self.enter(.idle(.ended), now: now)
        self.releaseHeld(now: now)
    }

    /// What Weir can do with enhanced streams: it forwards every codec, follows the first track of a multitrack
    /// message, understands modifiers, and asks clients to reconnect.
    private static var enhancedProperties: [AMFProperty] {
        let canForward: AMFValue = 4
        let video = ["avc1", "hvc1", "av01", "vp09", "vp08"]
        let audio = ["mp4a", "Opus", "fLaC", "ac-3", "ec-3", ".mp3"]
        return [
            AMFProperty("fourCcList", .strictArray(video.map { .string($0) } + audio.map { .string($0) })),
            AMFProperty("videoFourCcInfoMap", .object(video.map { AMFProperty($0, canForward) })),
            AMFProperty("audioFourCcInfoMap", .object(audio.map { AMFProperty($0, canForward) })),
            AMFProperty(
                "capsEx",
                .number(Double(RTMPCapability.reconnect | RTMPCapability.multitrack | RTMPCapability.modifiers))),
        ]
    }
}

// MARK: - Wishes of the owner

extension RTMPServerSession {
    /// Ends an accepted publish from our side. Ignored in other states.
    package mutating func publishEnded(
        code: String = "NetStream.Unpublish.Success", level: RTMPStatusLevel = .status, description: String,
        now: NIODeadline
    ) {
        guard case .publishing = self.state else { return }
        self.sendStatus(code, level: level, description: description)
        self.enter(.idle(.ended), now: now)
    }

    /// Tells a player that its stream has ended. Ignored in other states.
    package mutating func playEnded(
        code: String = "NetStream.Play.UnpublishNotify", level: RTMPStatusLevel = .status, description: String,
        now: NIODeadline
    ) {
        guard case .playing = self.state else { return }
        self.sendStatus(code, level: level, description: description)
        self.link.sendUserControl(RTMPUserControl.streamEOF, Self.messageStreamID)
        self.enter(.idle(.ended), now: now)
    }

    /// Tells a player that the publisher of its stream is back. Ignored in other states.
    package mutating func playRestarted(description: String) {
        guard case .playing = self.state else { return }
        self.link.sendUserControl(RTMPUserControl.streamBegin, Self.messageStreamID)
        self.sendStatus("NetStream.Play.PublishNotify", description: description)
    }

    /// The URL that the client came by, but at another server; `nil` when it did not tell, or came by TLS, whose port there
    /// is not known. `host` is a name or an address, without brackets.
    package func tcURL(atHost host: String, port: Int) -> String? {
        guard let url = self.tcURL, url.scheme == "rtmp" else { return nil }
        let authority = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        let query = url.parameters.queryString
        return "rtmp://\(authority)/\(url.path)\(query.isEmpty ? "" : "?\(query)")"
    }

    /// The host of the URL that the client came by, in lower case; `nil` when it did not tell.
    package var requestedHost: String? { self.tcURL?.host }

    /// Asks the client to leave this connection for a new one when it suits it, such as at its next keyframe. Returns
    /// false, and does nothing, if the client did not say that it can, or if the connection does nothing yet.
    ///
    /// `tcURL` is where to go; `nil` means the URL that the client came by.
    /// **Spec:** enhanced RTMP v2, "Reconnect Request".
    package mutating func requestReconnect(tcURL: String?, description: String) -> Bool {
        guard self.takesReconnectRequests else { return false }
        switch self.state {
        case .idle(.ready), .decidingPublish, .publishing, .decidingPlay, .playing: break
        case .handshake, .awaitingConnect, .decidingConnect, .idle(.ended), .closed: return false
        }
        self.send(
            .status(
                RTMPStatusCode.reconnectRequest, description: description,
                information: tcURL.map { [AMFProperty("tcUrl", .string($0))] } ?? []),
            streamID: 0)
        return true
    }

    /// Sends a data message to this client alone. Ignored unless it plays.
    package mutating func sendData(_ values: [AMFValue], timestamp: UInt32) {
        guard case .playing = self.state else { return }
        self.link.sendData(values, timestamp: timestamp, streamID: Self.messageStreamID)
    }
}
