extension SRTStreamID {
    /// The access control form, which reads back as the same. Parameters stand behind the resource, where none of them
    /// can be taken for a key.
    package var text: String {
        let parameters = self.parameters.map { "\(Self.escaped($0.name))=\(Self.escaped($0.value))" }
        let query = parameters.isEmpty ? "" : "?" + parameters.joined(separator: "&")
        let host = self.host.map { "h=\(Self.escaped($0))," } ?? ""
        return "#!::\(host)r=\(Self.escaped(self.app))/\(Self.escaped(self.name))\(query),m=\(self.mode.rawValue)"
    }

    /// The parameters as a URL's query, without `?`, in the order of their names. Spec: RFC 3986 §3.4.
    package var query: String {
        self.parameters.map { "\(Self.queryEscaped($0.name))=\(Self.queryEscaped($0.value))" }.joined(separator: "&")
    }

    /// The value of a parameter; the first of several.
    package func parameter(_ name: String) -> String? { self.parameters.first { $0.name == name }?.value }

    private static func escaped(_ text: String) -> String {
        self.escape(text) { byte in
            // What separates pairs, parameters and the parts of a resource.
            byte < 0x80 && !",=\"%?&".utf8.contains(byte)
        }
    }

    private static func queryEscaped(_ text: String) -> String {
        self.escape(text) { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"), UInt8(ascii: "/"), UInt8(ascii: ":"), UInt8(ascii: "!"), UInt8(ascii: "*"),
                UInt8(ascii: "@"), UInt8(ascii: "="):
                true
            default: false
            }
        }
    }

    private static func escape(_ text: String, isPlain: (UInt8) -> Bool) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        for byte in text.utf8 {
            if isPlain(byte) {
                result.append(byte)
            } else {
                result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 0xF)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
