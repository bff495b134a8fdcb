import NIOCore

extension ByteBuffer {
    /// Writes a box whose payload `body` writes; its size is filled in afterwards.
    mutating func writeBox(_ type: BoxType, _ body: (inout ByteBuffer) -> Void) {
        let start = self.writerIndex
        self.writeMultipleIntegers(UInt32(0), type.rawValue)
        body(&self)
        self.setInteger(UInt32(self.writerIndex - start), at: start)
    }

    /// Writes a box that begins with version and flags. Spec: ISO/IEC 14496-12 §4.2.3.
    mutating func writeFullBox(
        _ type: BoxType, version: UInt8 = 0, flags: UInt32 = 0, _ body: (inout ByteBuffer) -> Void
    ) {
        self.writeBox(type) {
            $0.writeInteger(UInt32(version) << 24 | flags & 0xFF_FFFF)
            body(&$0)
        }
    }

    mutating func writeTypes(_ types: [BoxType]) {
        for type in types { self.writeInteger(type.rawValue) }
    }
}
