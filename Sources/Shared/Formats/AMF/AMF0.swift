package import NIOCore

/// AMF0 as whole message bodies: all values of one, and the writer.
///
/// **Spec:** AMF0 §2.
package enum AMF0 {
    /// All values of a message body.
    package static func decode(
        _ buffer: ByteBuffer, limits: AMFLimits = .default
    ) throws(AMFError) -> [AMFValue] {
        var decoder = AMF0Decoder(buffer, limits: limits)
        return try decoder.rest()
    }

    /// Appends one value. Strings beyond 65,535 bytes become long strings; a property name beyond that is cut.
    ///
    /// AMF0 has no byte arrays, so one is written as `undefined`.
    package static func write(_ value: AMFValue, into buffer: inout ByteBuffer) {
        switch value {
        case .number(let number): self.write(number: number, into: &buffer)
        case .boolean(let flag):
            buffer.writeInteger(AMF0Marker.boolean)
            buffer.writeInteger(flag ? 1 : 0, as: UInt8.self)
        case .string(let text): self.write(string: text, into: &buffer)
        case .null: self.writeNull(into: &buffer)
        case .undefined, .byteArray: buffer.writeInteger(AMF0Marker.undefined)
        case .object(let properties):
            buffer.writeInteger(AMF0Marker.object)
            self.write(properties: properties, into: &buffer)
        case .ecmaArray(let properties):
            buffer.writeInteger(AMF0Marker.ecmaArray)
            buffer.writeInteger(UInt32(clamping: properties.count))
            self.write(properties: properties, into: &buffer)
        case .typedObject(let className, let properties):
            buffer.writeInteger(AMF0Marker.typedObject)
            self.write(name: className, into: &buffer)
            self.write(properties: properties, into: &buffer)
        case .strictArray(let elements):
            buffer.writeInteger(AMF0Marker.strictArray)
            buffer.writeInteger(UInt32(clamping: elements.count))
            for element in elements {
                self.write(element, into: &buffer)
            }
        case .date(let millis, let timeZoneMinutes):
            buffer.writeInteger(AMF0Marker.date)
            buffer.writeInteger(millis.bitPattern)
            buffer.writeInteger(timeZoneMinutes)
        case .xml(let text):
            buffer.writeInteger(AMF0Marker.xmlDocument)
            buffer.writeInteger(UInt32(clamping: text.utf8.count))
            buffer.writeString(text)
        }
    }

    /// Appends values one after the other.
    package static func write(_ values: [AMFValue], into buffer: inout ByteBuffer) {
        for value in values {
            self.write(value, into: &buffer)
        }
    }

    /// Appends a string with its marker.
    package static func write(string text: String, into buffer: inout ByteBuffer) {
        let length = text.utf8.count
        if let short = UInt16(exactly: length) {
            buffer.writeInteger(AMF0Marker.string)
            buffer.writeInteger(short)
        } else {
            buffer.writeInteger(AMF0Marker.longString)
            buffer.writeInteger(UInt32(clamping: length))
        }
        buffer.writeString(text)
    }

    /// Appends a number with its marker.
    package static func write(number: Double, into buffer: inout ByteBuffer) {
        buffer.writeInteger(AMF0Marker.number)
        buffer.writeInteger(number.bitPattern)
    }

    /// Appends the null marker.
    package static func writeNull(into buffer: inout ByteBuffer) {
        buffer.writeInteger(AMF0Marker.null)
    }

    private static func write(properties: [AMFProperty], into buffer: inout ByteBuffer) {
        for property in properties {
            // The empty name opens the end marker, so a member of that name cannot be sent.
            guard !property.name.isEmpty else { continue }
            self.write(name: property.name, into: &buffer)
            self.write(property.value, into: &buffer)
        }
        buffer.writeInteger(0, as: UInt16.self)
        buffer.writeInteger(AMF0Marker.objectEnd)
    }

    private static func write(name: String, into buffer: inout ByteBuffer) {
        guard let length = UInt16(exactly: name.utf8.count) else {
            buffer.writeInteger(UInt16.max)
            buffer.writeBytes(name.utf8.prefix(Int(UInt16.max)))
            return
        }
        buffer.writeInteger(length)
        buffer.writeString(name)
    }
}
