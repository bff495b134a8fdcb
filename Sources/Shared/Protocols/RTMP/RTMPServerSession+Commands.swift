internal import AMF
internal import Media
internal import NIOCore

// MARK: - Messages of the client

extension RTMPServerSession {
    /// Handles a message that is no control message, in a state in which the owner decides nothing.
    mutating func handle(_ message: RTMPMessage, now: NIODeadline) throws(RTMPError) {
        switch message.typeID {
        case RTMPMessageType.audio, RTMPMessageType.video, RTMPMessageType.dataAMF0, RTMPMessageType.dataAMF3:
            guard case .publishing = self.state else { return }
            try self.handleMedia(message, now: now)
        case RTMPMessageType.aggregate:
            guard case .publishing = self.state else { return }
            var aggregate = RTMPAggregate(message)
            while let part = try aggregate.next() {
                try self.handleMedia(part, now: now)
            }
        case RTMPMessageType.commandAMF0, RTMPMessageType.commandAMF3:
            let command = try RTMPCommand(parsing: message, limits: self.configuration.amfLimits)
            try self.handle(command, now: now)
        default:
            // Shared objects, and types that no specification defines.
            return
        }
    }

    private mutating func handleMedia(_ message: RTMPMessage, now: NIODeadline) throws(RTMPError) {
        self.enter(.publishing(sawMedia: true), now: now)
        switch message.typeID {
        case RTMPMessageType.audio, RTMPMessageType.video:
            // Some encoders send empty messages as a sign of life.
            guard message.payload.readableBytes > 0 else { return }
            let kind: MediaKind = message.typeID == RTMPMessageType.audio ? .audio : .video
            self.emit(
                .media(RTMPMediaMessage(kind: kind, timestamp: message.timestamp, body: message.payload)))
        case RTMPMessageType.dataAMF0, RTMPMessageType.dataAMF3:
            switch try RTMPData(parsing: message, limits: self.configuration.amfLimits) {
            case .metadata(let value):
                self.emit(.metadata(StreamMetadata(amf: value), timestamp: message.timestamp))
            case .other(let name, let payload):
                self.emit(.data(RTMPDataMessage(name: name, timestamp: message.timestamp, payload: payload)))
            case .ignored: return
            }
        default: return
        }
    }

    private mutating func handle(_ command: RTMPCommand, now: NIODeadline) throws(RTMPError) {
        switch self.state {
        case .awaitingConnect:
            guard command.name == "connect" else { throw .unexpectedCommand(.beforeConnect) }
            let request = RTMPConnectRequest(command)
            self.tcURL = request.url
            self.app = request.app
            self.takesReconnectRequests = request.takesReconnectRequests
            self.enter(
                .decidingConnect(
                    transactionID: command.transactionID, objectEncoding: request.objectEncoding,
                    isEnhanced: request.isEnhanced), now: now)
            self.emit(.connectRequested(request))
        case .idle, .publishing, .playing:
            try self.handleConnected(command, now: now)
        case .handshake, .decidingConnect, .decidingPublish, .decidingPlay, .closed:
            return
        }
    }

    private mutating func handleConnected(_ command: RTMPCommand, now: NIODeadline) throws(RTMPError) {
        switch command.name {
        case "connect": throw .unexpectedCommand(.secondConnect)
        case "createStream": self.answer(command, .number(Double(Self.messageStreamID)))
        case "FCPublish":
            self.expectsFCPublishAnswer = true
            self.answer(command, .undefined)
        case "releaseStream", "_checkbw": self.answer(command, .undefined)
        case "getStreamLength": self.answer(command, .number(0))
        case "FCSubscribe":
            self.answer(command, .undefined)
            self.send(
                .status(
                    "NetStream.Play.Start", description: "Subscribed to \(command.text(0) ?? "the stream").",
                    name: "onFCSubscribe"), streamID: 0)
        case "publish": self.requestPublish(command, now: now)
        case "play": self.requestPlay(name: command.text(0) ?? "", options: Self.playOptions(command), now: now)
        case "play2":
            // NetStreamPlayOptions: a switch to another rendition. It starts anew.
            let options = command.argument(0)
            self.requestPlay(name: options?["streamName"]?.stringValue ?? "", options: .init(), now: now)
        case "FCUnpublish", "closeStream", "deleteStream": self.endStream(command, now: now)
        case "pause", "pauseRaw", "seek", "receiveAudio", "receiveVideo": self.handlePlayerCommand(command)
        case "_result", "_error", "onStatus": return
        default: self.answer(command, .null)
        }
    }

    /// Answers a call; a transaction of 0 asks for none.
    private mutating func answer(_ command: RTMPCommand, _ value: AMFValue) {
        guard command.transactionID != 0 else { return }
        self.send(.result(command.transactionID, value), streamID: 0)
    }

    /// Sends a command: on message stream 0 as one of the connection, else as one of the stream.
    mutating func send(_ command: RTMPCommand, streamID: UInt32) {
        self.link.send(
            command, streamID: streamID,
            chunkStreamID: streamID == 0 ? RTMPChunkStreamID.command : RTMPChunkStreamID.status)
    }

    mutating func sendStatus(
        _ code: String, level: RTMPStatusLevel = .status, description: String, details: String? = nil,
        information: [AMFProperty] = []
    ) {
        self.send(
            .status(code, level: level, description: description, details: details, information: information),
            streamID: Self.messageStreamID)
    }
}

// MARK: - Publish and play

extension RTMPServerSession {
    private func request(_ name: String, role: RTMPStreamRequest.Role) throws(RTMPAddressError) -> RTMPStreamRequest {
        let address = try RTMPStreamAddress(
            tcURL: self.tcURL, app: self.app, streamName: name)
        return RTMPStreamRequest(role: role, rawName: name, address: address)
    }

    private mutating func requestPublish(_ command: RTMPCommand, now: NIODeadline) {
        self.endCurrent(now: now)
        let name = command.text(0) ?? ""
        let kind = RTMPPublishKind(rawValue: command.text(1) ?? "") ?? .live
        do {
            let request = try self.request(name, role: .publish(kind))
            self.enter(.decidingPublish(streamName: name), now: now)
            self.emit(.publishRequested(request))
        } catch {
            self.sendStatus("NetStream.Publish.BadName", level: .error, description: error.description)
            self.enter(.idle(.ended), now: now)
        }
    }

    private mutating func requestPlay(name: String, options: RTMPPlayOptions, now: NIODeadline) {
        self.endCurrent(now: now)
        do {
            let request = try self.request(name, role: .play(options))
            self.enter(.decidingPlay(reset: options.reset), now: now)
            self.emit(.playRequested(request))
        } catch {
            self.sendStatus("NetStream.Play.StreamNotFound", level: .error, description: error.description)
            self.enter(.idle(.ended), now: now)
        }
    }

    /// §7.2.2.1: name, start, duration and reset, of which all but the first may be missing.
    private static func playOptions(_ command: RTMPCommand) -> RTMPPlayOptions {
        var options = RTMPPlayOptions()
        if let start = command.argument(1)?.doubleValue, start.isFinite {
            // librtmp and ffmpeg send the special values −1 and −2 in milliseconds.
            options.startSeconds = start <= -1000 ? start / 1000 : start
        }
        if let duration = command.argument(2)?.doubleValue, duration.isFinite {
            options.durationSeconds = duration <= -1000 ? duration / 1000 : duration
        }
        switch command.argument(3) {
        case .boolean(let reset): options.reset = reset
        // Flash Media Server's numbers: 0 and 2 append to the playlist.
        case .number(let mode): options.reset = mode == 1 || mode == 3
        default: break
        }
        return options
    }

    /// Tells the owner that the stream in use has ended.
    private mutating func endCurrent(now: NIODeadline) {
        switch self.state {
        case .publishing: self.emit(.unpublished)
        case .playing: self.emit(.stopped)
        default: return
        }
        self.enter(.idle(.ready), now: now)
    }

    /// `FCUnpublish`, `closeStream` and `deleteStream`. Encoders send two of them in a row; the first one counts.
    private mutating func endStream(_ command: RTMPCommand, now: NIODeadline) {
        let isPublishing = if case .publishing = self.state { true } else { false }
        if command.name == "FCUnpublish" {
            self.send(
                .status(
                    "NetStream.Unpublish.Success", description: "Stop publishing stream.", name: "onFCUnpublish"),
                streamID: 0)
            self.answer(command, .undefined)
        }
        self.endCurrent(now: now)
        if isPublishing {
            self.sendStatus("NetStream.Unpublish.Success", description: "Stream is now unpublished.")
        }
        self.expectsFCPublishAnswer = false
    }

    private mutating func handlePlayerCommand(_ command: RTMPCommand) {
        guard case .playing = self.state else { return self.answer(command, .null) }
        switch command.name {
        case "seek":
            // ffmpeg ends its session at any status of level error, and a refused seek must not end a live view.
            self.sendStatus("NetStream.Seek.Failed", level: .status, description: "A live stream cannot be sought.")
        case "receiveAudio": self.emit(.receiveAudio(command.argument(0)?.booleanValue ?? true))
        case "receiveVideo": self.emit(.receiveVideo(command.argument(0)?.booleanValue ?? true))
        default:
            // §7.2.2.8: `true` pauses; a call without arguments toggles in old players, which only pause so.
            let isPausing = command.argument(0)?.booleanValue ?? true
            if isPausing {
                self.sendStatus("NetStream.Pause.Notify", description: "Paused stream.")
                self.link.sendUserControl(RTMPUserControl.streamEOF, Self.messageStreamID)
            } else {
                self.link.sendUserControl(RTMPUserControl.streamBegin, Self.messageStreamID)
                self.sendStatus("NetStream.Unpause.Notify", description: "Unpaused stream.")
            }
            self.emit(.paused(isPausing))
        }
    }
}
