import NIOCore

/// Writes the sections of the program tables. Spec: ISO 13818-1 §2.4.4.3 and §2.4.4.8.
enum TSTableWriter {
    /// A program association with one program.
    static func association(transportStreamID: UInt16, programNumber: UInt16, mapPID: UInt16) -> ByteBuffer {
        self.section(tableID: 0, extensionID: transportStreamID, version: 0) { body in
            body.writeMultipleIntegers(programNumber, 0xE000 | mapPID)
        }
    }

    /// One entry of a program map.
    struct Entry {
        var streamType: UInt8
        var pid: UInt16
        var descriptors: ByteBuffer
    }

    static func map(
        programNumber: UInt16, version: UInt8, clockPID: UInt16, descriptors: ByteBuffer, entries: [Entry]
    ) -> ByteBuffer {
        self.section(tableID: 2, extensionID: programNumber, version: version) { body in
            body.writeMultipleIntegers(0xE000 | clockPID, 0xF000 | UInt16(descriptors.readableBytes))
            body.writeImmutableBuffer(descriptors)
            for entry in entries {
                body.writeMultipleIntegers(
                    entry.streamType, 0xE000 | entry.pid, 0xF000 | UInt16(entry.descriptors.readableBytes))
                body.writeImmutableBuffer(entry.descriptors)
            }
        }
    }

    /// `metadata_pointer_descriptor` (§2.6.58) as Apple's "Timed Metadata for HTTP Live Streaming" asks for it.
    static func metadataPointer(programNumber: UInt16) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(
            TSDescriptor.metadataPointer, UInt8(15), UInt16(0xFFFF), TSIdentifier.id3, UInt8(0xFF), TSIdentifier.id3,
            UInt8(0), UInt8(0x1F), programNumber)
        return buffer
    }

    /// `metadata_descriptor` (§2.6.60) of the ID3 stream.
    static func metadata() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(
            TSDescriptor.metadata, UInt8(13), UInt16(0xFFFF), TSIdentifier.id3, UInt8(0xFF), TSIdentifier.id3,
            UInt8(0), UInt8(0x0F))
        return buffer
    }

    /// A section that is valid now and is the only one of its table.
    private static func section(
        tableID: UInt8, extensionID: UInt16, version: UInt8, body: (inout ByteBuffer) -> Void
    ) -> ByteBuffer {
        var content = ByteBuffer()
        content.writeMultipleIntegers(extensionID, 0xC1 | (version & 31) << 1, UInt8(0), UInt8(0))
        body(&content)
        var section = ByteBuffer()
        section.writeMultipleIntegers(tableID, 0xB000 | UInt16(content.readableBytes + 4))
        section.writeImmutableBuffer(content)
        section.writeInteger(CRC32MPEG.checksum(of: section))
        return section
    }
}
