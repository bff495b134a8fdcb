import Foundation
import Testing

extension ClusterTests {
    @Suite struct GB28181Tests {
        static let device = "34020000001110000001"
        static let channel = "34020000001320000001"
        static let stream = "live/\(device)@\(channel)"
        static let api = "/api/v2/gb28181"

        struct Case: CustomTestStringConvertible, Sendable {
            var sip = "udp"
            var transport = "tcp_passive"
            var codec = "h264"
            var isALaw = false
            var hasSessionPorts = false

            var testDescription: String {
                "SIP over \(self.sip), media by \(self.transport), \(self.codec) and \(self.isALaw ? "A-law" : "AAC")"
            }
        }

        static let cases = [
            Case(), Case(sip: "tcp", transport: "udp"), Case(transport: "tcp_active", isALaw: true),
            Case(sip: "tcp", codec: "hevc", isALaw: true), Case(transport: "udp", hasSessionPorts: true),
        ]

        /// A transport stream as the device reads it, and raw A-law.
        static func media(
            _ sandbox: Sandbox, codec: String = "h264", seconds: Int = 12, reordered: Int = 2
        ) async throws -> (stream: URL, alaw: URL) {
            let (stream, alaw) = (sandbox.file("source.ts"), sandbox.file("source.alaw"))
            let video =
                codec == "hevc"
                ? [
                    "-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
                    "log-level=error:keyint=25:bframes=\(reordered)",
                ]
                : [
                    "-c:v", "libx264", "-preset", "veryfast", "-bf", "\(reordered)", "-g", "25", "-sc_threshold", "0",
                ]
            _ = try await sandbox.run(
                try Tools.newFFmpeg,
                Media.quiet + [
                    "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i",
                    "sine=frequency=440:sample_rate=8000:duration=\(seconds)", "-t", "\(seconds)", "-pix_fmt",
                    "yuv420p",
                ] + video + [
                    "-c:a", "aac", "-ar", "44100", "-map", "0:v", "-map", "1:a", "-f", "mpegts", stream.path, "-map",
                    "1:a", "-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1", "-f", "alaw", alaw.path,
                ], within: .seconds(90))
            return (stream, alaw)
        }

        static func settings(_ sip: Int, _ media: (stream: URL, alaw: URL)) -> SimulatedDevice.Settings {
            SimulatedDevice.Settings(port: sip, media: media.stream.path)
        }

        /// A player that is on the way before anybody publishes.
        private static func play(_ sandbox: Sandbox, _ node: ClusterNode, to name: String) throws -> Recording {
            try Media.download(sandbox, node.flv(self.stream), to: name)
        }

        static func isRegistered(_ node: ClusterNode, _ sandbox: Sandbox) async throws {
            try await until("the node knows the channels", within: .seconds(10)) {
                try await node.api("\(self.api)/devices/\(self.device)/channels", in: sandbox).json["channels"][0][
                    "stream"
                ]
                .string == self.stream
            }
        }

        @Test("a channel is invited for its player, and each picture is the source's", arguments: cases)
        func onDemand(_ item: Case) async throws {
            try await Sandbox.run { sandbox in
                let media = try await Self.media(sandbox, codec: item.codec)
                let range = try Sandbox.freePorts(9)[0]
                let ports =
                    item.hasSessionPorts
                    ? ["gb28181.session_ports": "\(range)-\(range + 8)", "rtsp.enabled": "false"] : [:]
                let (node, sip) = try await ClusterNode.forDevices(
                    sandbox, ["gb28181.transport": item.transport].merging(ports) { $1 })
                var settings = Self.settings(sip, media)
                settings.sip = item.sip
                settings.codec = item.codec
                settings.alaw = item.isALaw ? media.alaw.path : nil
                settings.swap = item.transport == "udp"
                settings.dump = sandbox.file("device.ps").path
                let device = try SimulatedDevice(sandbox, settings)
                #expect(try await device.event("register")["status"].int == 200)
                #expect(try await device.event("keepalive")["status"].int == 200)
                try await Self.isRegistered(node, sandbox)
                #expect(device.events("invite").isEmpty)
                let recording = try Self.play(sandbox, node, to: "played.flv")
                let invite = try await device.event("invite")
                #expect(invite["tcp"].bool == (item.transport != "udp"))
                let view = try await node.isLive(Self.stream)
                #expect(Set(view.tracks.map(\.codec)) == [item.codec, item.isALaw ? "pcma" : "aac"])
                try await recording.grows(beyond: 100_000)
                try await recording.stop()
                // Nobody plays any more, so the channel is left.
                try await device.event("bye", within: .seconds(15))

                let source = Set(
                    try await Media.pictures(sandbox, media.stream, ffmpeg: try Tools.newFFmpeg).map(\.hash))
                let played = try await Media.pictures(sandbox, recording.file, ffmpeg: try Tools.newFFmpeg)
                try #require(played.count > 50)
                #expect(played.dropLast(4).allSatisfy { source.contains($0.hash) })
                #expect(Media.disorder(played.dropLast(4)) == nil)
                // What the device sends is a program stream for others, too.
                let judged = try await Media.pictures(sandbox, sandbox.file("device.ps"), ffmpeg: try Tools.newFFmpeg)
                #expect(judged.dropLast(4).allSatisfy { source.contains($0.hash) })
                if item.isALaw {
                    let tracks = try await sandbox.run(
                        try Tools.newFFprobe,
                        ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", recording.file.path])
                    #expect(tracks.contains("aac"))
                }
            }
        }

        @Test("a wrong password is refused; a device that unregisters is gone, and may come back")
        func passwords() async throws {
            try await Sandbox.run { sandbox in
                let media = try await Self.media(sandbox, seconds: 2)
                let (node, sip) = try await ClusterNode.forDevices(sandbox)
                var settings = Self.settings(sip, media)
                settings.wrong = "guess"
                let device = try SimulatedDevice(sandbox, settings)
                #expect(try await device.event("register")["status"].int == 403)
                #expect(try await node.api("\(Self.api)/devices", in: sandbox).json["total"].int == 0)
                try device.command("register")
                #expect(try await device.event("register", number: 1)["status"].int == 200)
                try await Self.isRegistered(node, sandbox)
                let view = try await node.api("\(Self.api)/devices/\(Self.device)", in: sandbox).json
                #expect(view["online"].bool == true)
                #expect(view["information"]["name"].string == "摄像机")
                try device.command("unregister")
                #expect(try await device.event("register", number: 2)["status"].int == 200)
                let gone = try await node.api("\(Self.api)/devices/\(Self.device)", in: sandbox).json
                #expect(gone["online"].bool == false)
                try device.command("keepalive")
                // A keepalive of a device that is not registered is refused.
                #expect(try await device.event("keepalive")["status"].int == 403)
                try device.command("register")
                #expect(try await device.event("register", number: 3)["status"].int == 200)
            }
        }

        @Test("a stream comes back after the device hung up, fell silent, moved, or the node lost it")
        func recovery() async throws {
            try await Sandbox.run { sandbox in
                let media = try await Self.media(sandbox, seconds: 4)
                let (node, sip) = try await ClusterNode.forDevices(sandbox, ["gb28181.invite": "always"])
                var settings = Self.settings(sip, media)
                settings.broken = 40
                settings.password = "secret"
                let device = try SimulatedDevice(sandbox, settings)
                try await device.event("invite")
                _ = try await node.isLive(Self.stream)
                var invites = 1
                for command in ["hangup", "cut", "rebind 127.0.0.2", "unregister", "register"] {
                    try device.command(command)
                    if command == "unregister" {
                        try await until("the device is offline", within: .seconds(5)) {
                            try await node.api("\(Self.api)/devices/\(Self.device)", in: sandbox).json["online"].bool
                                == false
                        }
                        continue
                    }
                    try await device.event("invite", number: invites, within: .seconds(20))
                    invites = device.events("invite").count
                    let before = try await node.stream(Self.stream)?.videoFrames ?? 0
                    try await until("frames come again after \(command)", within: .seconds(15)) {
                        let view = try await node.stream(Self.stream)
                        return view?.state == "live" && view?.videoFrames ?? 0 > before + 25
                    }
                }
                #expect(node.child.isRunning)
            }
        }

        @Test("an operator moves a camera, lists and plays its recordings, and sees alarms")
        func control() async throws {
            try await Sandbox.run { sandbox in
                let media = try await Self.media(sandbox, seconds: 4)
                let (node, sip) = try await ClusterNode.forDevices(sandbox)
                let device = try SimulatedDevice(sandbox, Self.settings(sip, media))
                try await Self.isRegistered(node, sandbox)
                let path = "\(Self.api)/devices/\(Self.device)/channels/\(Self.channel)"
                let moved = try await node.api("\(path)/ptz?command=move&pan=-31", method: "POST", in: sandbox)
                #expect(moved.status == 200)
                #expect(try await device.event("control")["ptz"].string == "A50F01021F0000D6")
                let wrong = try await node.api("\(path)/ptz?command=move&pan=999", method: "POST", in: sandbox)
                #expect(wrong.status == 400)
                let control = try await node.api("\(path)/control?command=record", method: "POST", in: sandbox)
                #expect(control.json["result"].string == "OK")
                let records = try await node.api("\(path)/records?start=1714500000&end=1714586400", in: sandbox)
                #expect(records.json["recordings"].array.count == 3)
                #expect(records.json["complete"].bool == true)
                try device.command("alarm")
                try await until("the alarm is listed", within: .seconds(5)) {
                    try await node.api("\(Self.api)/alarms", in: sandbox).json["alarms"][0]["priority"].int == 1
                }
                let playback = try await node.api(
                    "\(path)/playback?start=1714500000&end=1714503600", method: "POST", in: sandbox)
                #expect(playback.status == 202)
                let name = try #require(playback.json["stream"].string)
                let session = try #require(playback.json["session"].int)
                #expect(try await device.event("invite")["name"].string == "Playback")
                _ = try await node.isLive("live/\(name)")
                let paused = try await node.api(
                    "\(Self.api)/sessions/\(session)/control?action=pause", method: "POST", in: sandbox)
                #expect(paused.status == 200)
                #expect(try await device.event("info")["text"].string?.hasPrefix("PAUSE MANSRTSP/1.0") == true)
                _ = try await node.api(
                    "\(Self.api)/sessions/\(session)/control?action=resume", method: "POST", in: sandbox)
                // The recording is four seconds long, and the device tells its end.
                try await until("the session is over", within: .seconds(15)) {
                    try await node.api("\(Self.api)/sessions", in: sandbox).json["sessions"].array.isEmpty
                }
                let nobody = try await node.api("\(Self.api)/devices/1/channels/2/play", method: "POST", in: sandbox)
                #expect(nobody.status == 404)
            }
        }

        @Test("sipp registers by digest, keeps alive and unregisters, over UDP and TCP; a wrong password is refused")
        func sipp() async throws {
            try await Sandbox.run { sandbox in
                let (node, sip) = try await ClusterNode.forDevices(sandbox)
                let scenarios = [
                    ("life", SIPScenarios.life), ("wrong", SIPScenarios.wrongPassword),
                    ("stranger", SIPScenarios.stranger),
                ]
                for transport in ["u1", "t1"] {
                    for (name, text) in scenarios {
                        let id = name == "life" ? "34020000001110000007" : "34020000001110000008"
                        // Devices are asked what they are at once, which the scenarios do not know: sipp leaves such be.
                        let file = try sandbox.write("\(name).xml", text)
                        _ = try await Self.sipp(sandbox, file, id, ["127.0.0.1:\(sip)", "-t", transport])
                    }
                }
                let devices = try await node.api("\(Self.api)/devices", in: sandbox).json["devices"].array
                #expect(devices.map { $0["id"].string } == ["34020000001110000007"])
                #expect(devices.first?["online"].bool == false)
                #expect(devices.first?["keepalives"].int == 2)
                let alarms = try await node.api("\(Self.api)/alarms", in: sandbox).json["alarms"].array
                #expect(alarms.map { $0["device"].string } == ["34020000001110000007", "34020000001110000007"])
            }
        }

        @Test("sipp is asked what it is, invited, moved and left, as RFC 3261 has it")
        func sippInvited() async throws {
            try await Sandbox.run { sandbox in
                let (node, sip) = try await ClusterNode.forDevices(sandbox)
                let id = "34020000001110000009"
                let own = try ["-t", "u1", "-p", "\(Sandbox.freePorts(1)[0])"]
                let registration = try sandbox.write("registration.xml", SIPScenarios.registration)
                _ = try await Self.sipp(sandbox, registration, id, ["127.0.0.1:\(sip)"] + own)
                // From here it is the device: three questions, a movement, and an invitation.
                let scenario = try sandbox.write("invited.xml", SIPScenarios.invited)
                async let answering = Self.sipp(sandbox, scenario, id, own, calls: 5)
                let channel = "\(Self.api)/devices/\(id)/channels/\(id)"
                let moved = try await node.api("\(channel)/ptz?command=move&tilt=31", method: "POST", in: sandbox)
                #expect(moved.status == 200)
                let played = try await node.api("\(channel)/play?transport=udp", method: "POST", in: sandbox)
                #expect(played.status == 202)
                try await until("the invitation is answered", within: .seconds(10)) {
                    try await node.api("\(Self.api)/sessions", in: sandbox).json["sessions"][0]["state"].string
                        == "established"
                }
                let left = try await node.api("\(channel)/play", method: "DELETE", in: sandbox)
                #expect((200...299).contains(left.status))
                _ = try await answering
            }
        }

        /// Runs a scenario as the device `id`, which has to succeed.
        private static func sipp(
            _ sandbox: Sandbox, _ scenario: URL, _ id: String, _ options: [String], calls: Int = 1
        ) async throws -> String {
            try await sandbox.run(
                try Tools.command("sipp"),
                options + [
                    "-sf", scenario.path, "-s", id, "-m", "\(calls)", "-i", "127.0.0.1", "-nostdin", "-timeout", "20",
                    "-timeout_error", "-recv_timeout", "10000", "-default_behaviors", "none",
                ], within: .seconds(30))
        }

        @Test("media that another SIP server announced become a stream, until it takes them back")
        func external() async throws {
            try await Sandbox.run { sandbox in
                let media = try await Self.media(sandbox, seconds: 4)
                let (node, _) = try await ClusterNode.forDevices(sandbox)
                let body = "{\"id\": \"camera1\", \"ssrc\": \"1234567890\"}"
                let answer = try await node.api("/gb/v1/publish/", method: "POST", body: body, in: sandbox)
                #expect(answer.json["code"].int == 0)
                #expect(answer.json["is_tcp"].bool == true)
                let port = try #require(answer.json["port"].int)
                let settings = try sandbox.write(
                    "sender.json",
                    String(
                        decoding: JSONEncoder().encode(
                            SimulatedDevice.Settings(port: port, media: media.stream.path)), as: UTF8.self))
                let script =
                    DeviceDriver.media
                        + """
                        offer = dict(host="127.0.0.1", port=PORT, tcp=True, setup="passive", ssrc=1234567890, name="Play")
                        Sender(offer, "").run()

                        """
                _ = try sandbox.python("sender", script, [settings.path])
                _ = try await node.isLive("live/camera1")
                let busy = try await node.api("/gb/v1/publish/", method: "POST", body: body, in: sandbox)
                #expect(busy.json["code"].int == 1_028)
                let taken = try await node.api("/gb/v1/publish/camera1", method: "DELETE", in: sandbox)
                #expect(taken.json["code"].int == 0)
                let none = try await node.api("/gb/v1/publish/camera1", method: "DELETE", in: sandbox)
                #expect(none.json["code"].int != 0)
                let bad = try await node.api("/gb/v1/publish/", method: "POST", body: "{}", in: sandbox)
                #expect(bad.json["code"].int != 0)
            }
        }
    }
}
