package import Media
package import NIOCore

extension StreamMetadata {
    /// What `value`, an object or ECMA array, says with plain values. Nested values and unnamed ones are left out;
    /// where a name is repeated, its last value stands in its first place.
    package init(amf value: AMFValue) {
        self.init()
        for property in value.properties ?? [] {
            let scalar: StreamMetadata.Value
            switch property.value {
            case .number(let number): scalar = .number(number)
            case .string(let text): scalar = .string(text)
            case .boolean(let flag): scalar = .boolean(flag)
            default: continue
            }
            guard !property.name.isEmpty else { continue }
            if let index = self.entries.firstIndex(where: { $0.name == property.name }) {
                self.entries[index].value = scalar
            } else {
                self.entries.append(StreamMetadata.Entry(name: property.name, value: scalar))
            }
        }
    }

    /// The same as an ECMA array, the form that players and recorders expect of `onMetaData`.
    package var amfValue: AMFValue {
        .ecmaArray(
            self.entries.map { entry in
                switch entry.value {
                case .number(let number): AMFProperty(entry.name, .number(number))
                case .string(let text): AMFProperty(entry.name, .string(text))
                case .boolean(let flag): AMFProperty(entry.name, .boolean(flag))
                }
            })
    }

    /// Appends the body of an RTMP data message or an FLV script tag: `name`, then the entries as an ECMA array.
    package func writeBody(name: String = "onMetaData", into buffer: inout ByteBuffer) {
        AMF0.write(string: name, into: &buffer)
        AMF0.write(self.amfValue, into: &buffer)
    }
}
