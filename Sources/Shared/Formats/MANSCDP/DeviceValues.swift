/// A channel, or a directory of channels, as a device's catalog lists it. Spec: GB/T 28181 A.2.1.
package struct CatalogItem: Sendable, Hashable {
    package var id: String
    package var name: String
    package var manufacturer: String
    package var model: String
    package var owner: String
    package var civilCode: String
    package var address: String
    package var parentID: String
    /// It has items below it.
    package var isParent: Bool
    /// `nil` where the device says nothing.
    package var isOnline: Bool?
    /// Degrees of WGS 84, as text.
    package var longitude: String
    package var latitude: String
    /// 1 dome, 2 half dome, 3 fixed bullet, 4 remote bullet; `nil` where the device says nothing.
    package var ptzType: Int?
    /// What happened to it, in a notice of a change: `ON`, `OFF`, `VLOST`, `DEFECT`, `ADD`, `DEL` or `UPDATE`.
    package var event: String?

    package init(id: String, name: String = "") {
        (self.id, self.name) = (id, name)
        (self.manufacturer, self.model, self.owner, self.civilCode) = ("", "", "", "")
        (self.address, self.parentID, self.longitude, self.latitude) = ("", "", "", "")
        self.isParent = false
    }

    /// `nil` without an identifier. Texts are cut at 256 bytes.
    package init?(_ element: XMLElement) {
        func text(_ name: String) -> String {
            let value = element.value(name) ?? ""
            return value.utf8.count <= 256 ? value : String(decoding: value.utf8.prefix(256), as: UTF8.self)
        }
        self.init(id: text("DeviceID"), name: text("Name"))
        guard !self.id.isEmpty else { return nil }
        (self.manufacturer, self.model, self.owner) = (text("Manufacturer"), text("Model"), text("Owner"))
        (self.civilCode, self.address, self.parentID) = (text("CivilCode"), text("Address"), text("ParentID"))
        (self.longitude, self.latitude) = (text("Longitude"), text("Latitude"))
        self.isParent = text("Parental") == "1"
        switch text("Status").uppercased() {
        case "ON", "OK", "ONLINE": self.isOnline = true
        case "OFF", "OFFLINE": self.isOnline = false
        default: self.isOnline = nil
        }
        let type = element["Info"]?.value("PTZType") ?? element.value("PTZType")
        self.ptzType = type.flatMap { Int($0.prefix { $0 != "/" }) }
        self.event = element.value("Event").map { $0.uppercased() }
    }
}

/// One recording of a device. Spec: GB/T 28181 A.2.1 (`itemFileType`).
package struct DeviceRecording: Sendable, Hashable {
    package var channelID: String
    package var name: String
    package var path: String
    /// Local time of the device, `2024-01-31T23:59:59`.
    package var start: String
    package var end: String
    /// `time`, `alarm` or `manual`.
    package var type: String
    /// Bytes; `nil` where the device says nothing.
    package var size: UInt64?

    /// `nil` without both times.
    package init?(_ element: XMLElement) {
        guard let start = element.value("StartTime"), let end = element.value("EndTime") else { return nil }
        func text(_ name: String) -> String { String((element.value(name) ?? "").prefix(256)) }
        self.channelID = text("DeviceID")
        self.name = text("Name")
        self.path = text("FilePath")
        self.start = String(start.prefix(32))
        self.end = String(end.prefix(32))
        self.type = text("Type")
        self.size = element.value("FileSize").flatMap { UInt64($0) }
    }
}

/// What a device says of itself.
package struct DeviceInformation: Sendable, Hashable {
    package var name = ""
    package var manufacturer = ""
    package var model = ""
    package var firmware = ""
    /// Channels that the device says it has.
    package var channels: Int?

    package init() {}

    package init(_ message: MANSCDPMessage) {
        func text(_ name: String) -> String { String((message.value(name) ?? "").prefix(256)) }
        self.name = text("DeviceName")
        self.manufacturer = text("Manufacturer")
        self.model = text("Model")
        self.firmware = text("Firmware")
        self.channels = message.value("Channel").flatMap { Int($0) }
    }
}

/// How a device is. Spec: GB/T 28181 A.2.6.
package struct DeviceStatus: Sendable, Hashable {
    /// `ONLINE` or `OFFLINE`; empty where the device says nothing.
    package var online = ""
    package var status = ""
    package var encode = ""
    package var record = ""
    package var deviceTime = ""

    package init() {}

    package init(_ message: MANSCDPMessage) {
        func text(_ name: String) -> String { String((message.value(name) ?? "").prefix(64)) }
        self.online = text("Online").uppercased()
        self.status = text("Status").uppercased()
        self.encode = text("Encode").uppercased()
        self.record = text("Record").uppercased()
        self.deviceTime = text("DeviceTime")
    }
}

/// A notice of an alarm. Spec: GB/T 28181 A.2.5.
package struct DeviceAlarm: Sendable, Hashable {
    /// The channel or device that it is about.
    package var sourceID: String
    /// 1 (the worst) to 4; `nil` where it is no number.
    package var priority: Int?
    /// 1 telephone, 2 device, 3 message, 4 GPS, 5 video, 6 device fault, 7 other.
    package var method: Int?
    /// The kind of alarm, which depends on the method; `nil` where the device says none.
    package var type: Int?
    /// Local time of the device.
    package var time: String
    package var text: String

    package init(_ message: MANSCDPMessage) {
        self.sourceID = message.deviceID
        self.priority = message.value("AlarmPriority").flatMap { Int($0) }
        self.method = message.value("AlarmMethod").flatMap { Int($0) }
        let information = message.field("Info")
        self.type = (message.value("AlarmType") ?? information?.value("AlarmType")).flatMap { Int($0) }
        self.time = String((message.value("AlarmTime") ?? "").prefix(32))
        self.text = String((message.value("AlarmDescription") ?? "").prefix(512))
    }
}

/// Where a device is. Spec: GB/T 28181 A.2.5.
package struct DevicePosition: Sendable, Hashable {
    package var sourceID: String
    package var time: String
    package var longitude: String
    package var latitude: String
    package var speed: String
    package var direction: String
    package var altitude: String

    package init(_ message: MANSCDPMessage) {
        func text(_ name: String) -> String { String((message.value(name) ?? "").prefix(32)) }
        self.sourceID = message.deviceID
        (self.time, self.longitude, self.latitude) = (text("Time"), text("Longitude"), text("Latitude"))
        (self.speed, self.direction, self.altitude) = (text("Speed"), text("Direction"), text("Altitude"))
    }
}

extension MANSCDPMessage {
    /// The items of one page of a catalog, or of a notice of its change, at most `maximum`; and how many there are in
    /// all.
    package func catalog(maximum: Int) -> (total: Int?, items: [CatalogItem]) {
        let list = self.field("DeviceList")?.children.filter { $0.name == "Item" } ?? []
        return (self.value("SumNum").flatMap { Int($0) }, list.prefix(maximum).compactMap { CatalogItem($0) })
    }

    /// The same of a list of recordings.
    package func recordings(maximum: Int) -> (total: Int?, items: [DeviceRecording]) {
        let list = self.field("RecordList")?.children.filter { $0.name == "Item" } ?? []
        return (self.value("SumNum").flatMap { Int($0) }, list.prefix(maximum).compactMap { DeviceRecording($0) })
    }
}
