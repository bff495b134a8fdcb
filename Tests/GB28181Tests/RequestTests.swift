import MANSCDP
import NIOCore
import SIP
import Testing

@testable import GB28181

@Suite struct RequestTests {
    private func query(_ message: SIPMessage) throws -> MANSCDPMessage {
        try #require(MANSCDPMessage(try XMLElement(parsing: message.body)))
    }

    @Test("a catalog comes in pages, in any order and with repetitions")
    func catalog() throws {
        let script = Script()
        script.comeOnline()
        #expect(script.ask(7, .catalog) == nil)
        script.drain()
        let message = try #require(script.takeSent().first)
        let number = try #require(try self.query(message).number)
        script.answer(message, 200)
        let ids = (1...5).map { "3402000000132000000\($0)" }
        for page in [[ids[3], ids[2]], [ids[0]], [ids[4]], [ids[1]]] {
            #expect(script.events.isEmpty)
            script.tell(Script.page(number: number, total: 5, page))
        }
        #expect(script.platform.devices[Script.device]?.channels.map(\.id) == ids)
        guard case .answered(7, .catalog(let items))? = script.events.last else {
            Issue.record("\(script.events)")
            return
        }
        #expect(items.map(\.id) == ids)
        #expect(script.events.contains(.catalogChanged(device: Script.device)))
    }

    @Test("pages that are missing are given up, and what came counts")
    func missingPage() throws {
        let script = Script()
        script.comeOnline()
        _ = script.ask(7, .catalog)
        script.drain()
        let message = try #require(script.takeSent().first)
        script.answer(message, 200)
        script.tell(
            Script.page(number: try #require(try self.query(message).number), total: 9, ["34020000001320000002"]))
        script.wait(.seconds(12))
        guard case .answered(7, .catalog(let items))? = script.events.last else {
            Issue.record("\(script.events)")
            return
        }
        #expect(items.count == 1)
    }

    @Test("a catalog of more channels than allowed is cut")
    func bound() throws {
        let script = Script { $0.maximumChannels = 2 }
        script.comeOnline()
        _ = script.ask(7, .catalog)
        script.drain()
        let message = try #require(script.takeSent().first)
        let ids = (1...5).map { "3402000000132000000\($0)" }
        script.tell(Script.page(number: try #require(try self.query(message).number), total: 5, ids))
        #expect(script.platform.devices[Script.device]?.channels.count == 2)
    }

    @Test("notices change the channels")
    func notices() {
        let script = Script()
        script.comeOnline()
        func notice(_ id: String, _ event: String) -> String {
            "<Notify><CmdType>Catalog</CmdType><SN>1</SN><DeviceID>\(Script.device)</DeviceID><DeviceList Num=\"1\"><Item>"
                + "<DeviceID>\(id)</DeviceID><Event>\(event)</Event><Name>n</Name></Item></DeviceList></Notify>"
        }
        script.receive(script.request("NOTIFY", body: notice(Script.channel, "OFF")))
        #expect(script.platform.devices[Script.device]?.channels.first?.isOnline == false)
        script.receive(script.request("NOTIFY", body: notice("34020000001320000002", "ADD")))
        #expect(script.platform.devices[Script.device]?.channels.count == 2)
        script.receive(script.request("NOTIFY", body: notice(Script.channel, "DEL")))
        #expect(script.platform.devices[Script.device]?.channels.map(\.id) == ["34020000001320000002"])
        #expect(script.events.count == 3)
    }

    @Test("a movement is taken with the device's answer to the message")
    func ptz() throws {
        let script = Script()
        script.comeOnline()
        let command = PTZCommand.move(pan: 10, tilt: 0, zoom: 0)
        _ = script.ask(3, .ptz(channel: Script.channel, command))
        script.drain()
        let message = try #require(script.takeSent().first)
        let control = try self.query(message)
        #expect(control.kind == .control)
        #expect(control.deviceID == Script.channel)
        #expect(control.value("PTZCmd") == command.digits)
        script.answer(message, 200)
        #expect(script.takeEvents() == [.answered(request: 3, .taken(""))])
    }

    @Test("a control waits for what the device says of it")
    func control() throws {
        let script = Script()
        script.comeOnline()
        _ = script.ask(4, .control(channel: Script.channel, name: "RecordCmd", value: "Record"))
        script.drain()
        let message = try #require(script.takeSent().first)
        script.answer(message, 200)
        #expect(script.events.isEmpty)
        let number = try #require(try self.query(message).number)
        script.tell(
            "<Response><CmdType>DeviceControl</CmdType><SN>\(number)</SN><DeviceID>x</DeviceID><Result>OK</Result></Response>"
        )
        #expect(script.takeEvents() == [.answered(request: 4, .taken("OK"))])
    }

    @Test("the edition of 2022 is answered, and asked for a keyframe by its own word", arguments: ["3.0", nil])
    func edition(_ edition: String?) throws {
        let script = Script()
        script.path.transport = .tcp(connection: 1)
        var message = script.request("REGISTER", fields: [("Expires", "3600")])
        message["X-GB-Ver"] = edition
        script.receive(message)
        #expect(script.takeSent().first?["X-GB-Ver"] == edition)
        _ = script.ask(4, .control(channel: Script.channel, name: "IFameCmd", value: "Send"))
        let control = try self.query(try #require(script.takeSent().last))
        #expect(control.value(edition == nil ? "IFameCmd" : "IFrameCmd") == "Send")
    }

    @Test("a query is refused, or times out, or ends with its device")
    func failures() throws {
        let script = Script { $0.keepaliveTimeout = .hours(1) }
        script.comeOnline()
        _ = script.ask(1, .information)
        script.drain()
        script.answer(try #require(script.takeSent().first), 404)
        #expect(script.takeEvents() == [.answered(request: 1, .refused(status: 404))])
        _ = script.ask(2, .status)
        script.wait(.seconds(40))
        #expect(script.takeEvents() == [.answered(request: 2, .timedOut)])
        _ = script.ask(3, .status)
        script.register(expires: 0)
        #expect(script.events.contains(.answered(request: 3, .deviceGone)))
        #expect(script.ask(4, .status) == .deviceOffline)
        #expect(script.ask(4, .status, device: "nobody") == .unknownDevice)
    }

    @Test("requests that are not answered are bounded for each device")
    func tooMany() {
        // What the device is and how it is are asked when it comes, and not answered here.
        let script = Script { $0.maximumRequests = 4 }
        script.comeOnline()
        #expect(script.ask(1, .status) == nil)
        #expect(script.ask(2, .status) == nil)
        #expect(script.ask(3, .status) == .tooManyRequests)
    }

    @Test("recordings are listed in the device's time")
    func recordings() throws {
        let script = Script()
        script.comeOnline()
        _ = script.platform.request(
            9, device: Script.device,
            .recordings(channel: Script.channel, start: 1_709_164_800, end: 1_709_251_199), script.clock)
        script.drain()
        let message = try #require(script.takeSent().first)
        let query = try self.query(message)
        #expect(query.value("StartTime") == "2024-02-29T08:00:00")
        #expect(query.value("EndTime") == "2024-03-01T07:59:59")
        script.answer(message, 200)
        script.tell(
            "<Response><CmdType>RecordInfo</CmdType><SN>\(query.number ?? 0)</SN><DeviceID>\(Script.channel)</DeviceID>"
                + "<SumNum>1</SumNum><RecordList Num=\"1\"><Item><DeviceID>\(Script.channel)</DeviceID>"
                + "<StartTime>2024-02-29T09:00:00</StartTime><EndTime>2024-02-29T10:00:00</EndTime>"
                + "<FileSize>77</FileSize></Item></RecordList></Response>")
        guard case .answered(9, .recordings(let found, isComplete: true))? = script.events.last else {
            Issue.record("\(script.events)")
            return
        }
        #expect(found.map(\.size) == [77])
    }

    @Test("an alarm is told and confirmed; a position is noted")
    func alarm() throws {
        let script = Script()
        script.comeOnline()
        script.tell(
            "<Notify><CmdType>Alarm</CmdType><SN>8</SN><DeviceID>\(Script.channel)</DeviceID><AlarmPriority>2</AlarmPriority>"
                + "<AlarmMethod>5</AlarmMethod><Info><AlarmType>2</AlarmType></Info></Notify>")
        guard case .alarm(Script.device, let alarm)? = script.takeEvents().first else {
            Issue.record("no alarm")
            return
        }
        #expect((alarm.sourceID, alarm.priority, alarm.method, alarm.type) == (Script.channel, 2, 5, 2))
        let confirmation = try #require(script.takeSent().last { $0.method == "MESSAGE" })
        #expect(try self.query(confirmation).kind == .response)
        #expect(try self.query(confirmation).number == 8)
        script.tell(
            "<Notify><CmdType>MobilePosition</CmdType><SN>9</SN><DeviceID>\(Script.device)</DeviceID>"
                + "<Longitude>116.4</Longitude><Latitude>39.9</Latitude></Notify>")
        #expect(script.platform.devices[Script.device]?.position?.longitude == "116.4")
    }

    @Test("a body that is no document is refused, and the device stays")
    func broken() {
        let script = Script()
        script.comeOnline()
        script.tell("<Notify><CmdType>Keep")
        #expect(script.takeSent().map(\.status) == [400])
        script.keepAlive()
        #expect(script.takeSent().map(\.status) == [200])
    }
}
