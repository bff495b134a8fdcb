import NIOCore
import Testing

@testable import MANSCDP

private func parse(_ text: String) throws -> XMLElement { try XMLElement(parsing: ByteBuffer(string: text)) }

@Suite struct XMLElementTests {
    @Test("a document of a device is read")
    func document() throws {
        let root = try parse(
            "<?xml version=\"1.0\"?>\r\n<!-- x --><Response a='1' b=\"&lt;2&gt;\"><CmdType> Catalog </CmdType><SN>17</SN>"
                + "<DeviceList Num=\"1\"><Item><Name>A&amp;B &#x4e2d;&unknown; & C</Name><X/></Item></DeviceList>"
                + "<![CDATA[<raw>]]></Response> trailing")
        #expect(root.name == "Response")
        #expect(root.attributes == ["a": "1", "b": "<2>"])
        #expect(root.value("CmdType") == "Catalog")
        #expect(root["DeviceList"]?["Item"]?.value("Name") == "A&B 中&unknown; & C")
        #expect(root["DeviceList"]?["Item"]?.value("X") == nil)
        #expect(root.text == "<raw>")
    }

    @Test(
        "what is no document is refused",
        arguments: [
            ("", XMLError.empty), ("text only", .empty), ("<a>", .truncated(offset: 3)),
            ("<a></b>", .mismatchedEnd(offset: 3)), ("<a b></a>", .malformedTag(offset: 0)),
            ("<!DOCTYPE a [<!ENTITY x \"y\">]><a/>", .documentType(offset: 0)), ("<!-- ", .truncated(offset: 0)),
            ("<a b='", .truncated(offset: 0)), ("</a>", .mismatchedEnd(offset: 0)), ("<>", .malformedTag(offset: 0)),
        ])
    func refused(_ text: String, _ error: XMLError) {
        #expect(throws: error) { try parse(text) }
    }

    @Test("depth, elements and length are bounded")
    func bounds() {
        let deep = String(repeating: "<a>", count: 20)
        #expect(throws: XMLError.tooDeep(limit: 16, offset: 48)) { try parse(deep) }
        let limits = XMLElement.Limits(length: 1_000, elements: 3)
        #expect(throws: XMLError.tooManyElements(limit: 3)) {
            try XMLElement(parsing: ByteBuffer(string: "<a><b/><b/><b/></a>"), limits: limits)
        }
        #expect(throws: XMLError.tooLong(length: 1_001, limit: 1_000)) {
            try XMLElement(parsing: ByteBuffer(repeating: 32, count: 1_001), limits: limits)
        }
    }

    @Test("a document that is cut anywhere is refused and does not trap")
    func cuts() throws {
        let text = "<?xml version=\"1.0\"?><a x=\"1\"><b>&amp;c</b><d/><!-- e --><![CDATA[f]]></a>"
        let bytes = ByteBuffer(string: text)
        for length in 0..<bytes.readableBytes {
            let cut = bytes.getSlice(at: 0, length: length) ?? ByteBuffer()
            #expect(throws: XMLError.self) { try XMLElement(parsing: cut) }
        }
        #expect(try XMLElement(parsing: bytes)["b"]?.text == "&c")
    }

    @Test("what was written is read as the same")
    func roundTrip() throws {
        let element = XMLElement(
            "Control", attributes: ["x": "\"<&"], children: [XMLElement("A", text: "<&>\""), XMLElement("B")])
        var text = ""
        element.write(into: &text)
        #expect(try parse(text) == element)
    }
}

@Suite struct GBKTextTests {
    @Test("GB2312 and GBK are decoded")
    func decode() {
        #expect(GBKText.decode(ByteBuffer(bytes: [0xD6, 0xD0, 0xB9, 0xFA, 0x41])) == "中国A")
        #expect(GBKTable.units.count == 126 * 190)
        #expect(GBKText.decode(ByteBuffer(bytes: [0x81, 0x40, 0xB0, 0xA1, 0xF7, 0xFE])) == "丂啊齄")
    }

    @Test(
        "what is no character is replaced, wherever it stands",
        arguments: [[0xFF], [0x80], [0xD6], [0xD6, 0x20], [0xAA, 0xA1]])
    func broken(_ bytes: [UInt8]) {
        #expect(GBKText.decode(ByteBuffer(bytes: bytes)).unicodeScalars.first == "\u{FFFD}")
    }

    @Test("a document is read in the encoding that it has, whatever it says")
    func encodings() throws {
        func name(_ declared: String, _ bytes: [UInt8]) throws -> String? {
            var buffer = ByteBuffer(string: "<?xml version=\"1.0\" encoding=\"\(declared)\"?><a><n>")
            buffer.writeBytes(bytes)
            buffer.writeString("</n></a>")
            return try XMLElement(parsing: buffer).value("n")
        }
        let gbk: [UInt8] = [0xC9, 0xE3, 0xCF, 0xF1, 0xBB, 0xFA]
        #expect(try name("GB2312", gbk) == "摄像机")
        #expect(try name("UTF-8", gbk) == "摄像机")
        #expect(try name("GB2312", Array("摄像机".utf8)) == "摄像机")
        #expect(try name("UTF-8", Array("摄像机".utf8)) == "摄像机")
        // Two bytes that would be UTF-8 of another script.
        #expect(try name("GB18030", [0xD6, 0xA7]) == "支")
    }
}

@Suite struct MANSCDPMessageTests {
    @Test("a page of a catalog is read")
    func catalog() throws {
        let text = """
            <Response><CmdType>Catalog</CmdType><SN>3</SN><DeviceID>34020000001110000001</DeviceID><SumNum>5</SumNum>
            <DeviceList Num="2"><Item><DeviceID>34020000001320000001</DeviceID><Name>Door</Name><Status>ON</Status>
            <Parental>0</Parental><Info><PTZType>1</PTZType></Info></Item><Item><Name>none</Name></Item></DeviceList></Response>
            """
        let message = try #require(MANSCDPMessage(try parse(text)))
        #expect(message.kind == .response)
        #expect(message.number == 3)
        let (total, items) = message.catalog(maximum: 10)
        #expect(total == 5)
        #expect(items.map(\.name) == ["Door"])
        #expect(items.first?.isOnline == true)
        #expect(items.first?.ptzType == 1)
        #expect(message.catalog(maximum: 0).items.isEmpty)
    }

    @Test("a query that was written is read as the same")
    func roundTrip() throws {
        let query = MANSCDPMessage(
            .query, command: "RecordInfo", number: 9, deviceID: "1", fields: [XMLElement("Type", text: "all")])
        #expect(MANSCDPMessage(try XMLElement(parsing: query.body)) == query)
    }

    @Test(
        "a document that is none of the four, or has no command, is nil",
        arguments: ["<Notify/>", "<Other><CmdType>x</CmdType></Other>"])
    func none(_ text: String) throws { #expect(MANSCDPMessage(try parse(text)) == nil) }

    @Test(
        "commands to a camera have their bytes and their sum",
        arguments: [
            (PTZCommand.move(pan: 0, tilt: 0, zoom: 0), "A50F0100000000B5"),
            (.move(pan: -31, tilt: 0, zoom: 0), "A50F01021F0000D6"),
            (.move(pan: 255, tilt: -255, zoom: 15), "A50F0115FFFFF0B8"),
            (.move(pan: 0, tilt: 100, zoom: -1), "A50F012800641051"),
            (.lens(focus: -16, iris: 0), "A50F014210000007"),
            (.setPreset(1), "A50F018100010037"), (.callPreset(300), "A50F018200FF0036"),
            (.startCruise(group: 2), "A50F01880200003F"),
            (.setCruiseSpeed(group: 1, speed: 0xABC), "A50F018601BCA098"),
        ])
    func ptz(_ command: PTZCommand, _ digits: String) { #expect(command.digits == digits) }

    @Test("the sum of every command is that of its bytes")
    func ptzSum() throws {
        for pan in stride(from: -255, through: 255, by: 17) {
            let digits = Array(PTZCommand.move(pan: pan, tilt: -pan, zoom: pan / 17).digits)
            #expect(digits.count == 16)
            let bytes = try stride(from: 0, to: 16, by: 2).map {
                try #require(UInt8(String(digits[$0...$0 + 1]), radix: 16))
            }
            #expect(bytes[7] == bytes[0..<7].reduce(0, &+))
        }
    }

    @Test("the control of a playback is written")
    func playback() {
        func text(_ control: PlaybackControl) -> String { String(buffer: control.body(sequence: 3)) }
        #expect(text(.pause) == "PAUSE MANSRTSP/1.0\r\nCSeq: 3\r\nPauseTime: now\r\n\r\n")
        #expect(text(.scale(thousandths: 500)) == "PLAY MANSRTSP/1.0\r\nCSeq: 3\r\nScale: 0.500\r\n\r\n")
        #expect(text(.scale(thousandths: -2_000)).contains("Scale: -2.000\r\n"))
        #expect(text(.seek(seconds: 61)).contains("Range: npt=61-\r\n"))
    }

    @Test(
        "times are written and read in the devices' zone",
        arguments: [
            (0, "1970-01-01T08:00:00"), (1_709_164_800, "2024-02-29T08:00:00"), (951_868_799, "2000-03-01T07:59:59"),
            (4_102_444_799, "2100-01-01T07:59:59"), (-1, "1970-01-01T07:59:59"),
        ])
    func times(_ seconds: Int64, _ text: String) {
        #expect(DeviceTime.text(seconds: seconds, offset: 28_800) == text)
        #expect(DeviceTime.seconds(parsing: text, offset: 28_800) == seconds)
    }

    @Test("every day of a century is read back", arguments: [0, 28_800, -18_000])
    func days(_ offset: Int64) {
        for day in stride(from: Int64(0), to: 36_525, by: 1) {
            let seconds = day * 86_400 + day % 86_400
            #expect(
                DeviceTime.seconds(parsing: DeviceTime.text(seconds: seconds, offset: offset), offset: offset)
                    == seconds)
        }
    }

    @Test(
        "what is no time is nil",
        arguments: ["", "2024-01-01", "2024-13-01T00:00:00", "2024-01-01T24:00:00", "2024-01-0xT00:00:00"])
    func noTime(_ text: String) { #expect(DeviceTime.seconds(parsing: text, offset: 0) == nil) }
}
