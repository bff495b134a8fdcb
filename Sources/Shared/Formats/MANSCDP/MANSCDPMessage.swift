package import NIOCore

/// A message of the control protocol of GB/T 28181: what stands in the bodies of SIP's MESSAGE, NOTIFY and SUBSCRIBE.
///
/// Spec: GB/T 28181-2016 annex A, GB/T 28181-2022 annex A.
package struct MANSCDPMessage: Sendable, Hashable {
    /// The name of the document's element.
    package enum Kind: String, Sendable, Hashable, CaseIterable {
        case query = "Query"
        case control = "Control"
        case notify = "Notify"
        case response = "Response"
    }

    /// The type of a SIP body that is one.
    package static let contentType = "Application/MANSCDP+xml"

    package var kind: Kind
    /// `CmdType`, such as `Keepalive` or `Catalog`.
    package var command: String
    /// `SN`: by which an answer is found. `nil` where the device wrote none, or no number.
    package var number: UInt32?
    package var deviceID: String
    /// Everything else.
    package var fields: [XMLElement]

    package init(_ kind: Kind, command: String, number: UInt32, deviceID: String, fields: [XMLElement] = []) {
        self.kind = kind
        self.command = command
        self.number = number
        self.deviceID = deviceID
        self.fields = fields
    }

    /// `nil` if the document is none of the four, or names no command.
    package init?(_ document: XMLElement) {
        guard let kind = Kind(rawValue: document.name), let command = document.value("CmdType") else { return nil }
        self.kind = kind
        self.command = command
        self.number = document.value("SN").flatMap { UInt32($0) }
        self.deviceID = document.value("DeviceID") ?? ""
        self.fields = document.children.filter { !["CmdType", "SN", "DeviceID"].contains($0.name) }
    }

    /// The text of the first field of that name; `nil` where there is none or it is empty.
    package func value(_ name: String) -> String? {
        self.fields.first { $0.name == name }.flatMap { $0.text.isEmpty ? nil : $0.text }
    }

    package func field(_ name: String) -> XMLElement? { self.fields.first { $0.name == name } }

    /// The document as bytes. Ours are ASCII, which is the same in every encoding that devices know.
    package var body: ByteBuffer {
        var text = "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n"
        let head = [
            XMLElement("CmdType", text: self.command), XMLElement("SN", text: "\(self.number ?? 0)"),
            XMLElement("DeviceID", text: self.deviceID),
        ]
        XMLElement(self.kind.rawValue, children: head + self.fields).write(into: &text)
        return ByteBuffer(string: text)
    }
}
