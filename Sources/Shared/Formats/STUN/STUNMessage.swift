package import NIOCore

/// The 96 bits that tie a response to its request. The owner draws them.
package struct STUNTransactionID: Sendable, Hashable {
    package var high: UInt32
    package var low: UInt64

    package init(high: UInt32, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// What addresses are masked with: the magic cookie and the transaction.
    var addressMask: [UInt8] {
        var mask = ByteBuffer()
        mask.writeMultipleIntegers(STUNMessage.magicCookie, self.high, self.low)
        return Array(mask.readableBytesView)
    }
}

/// A STUN message. Spec: RFC 8489 §5.
package struct STUNMessage: Sendable, Hashable {
    package enum Class: UInt8, Sendable, Hashable {
        case request = 0, indication = 1, success = 2, failure = 3
    }

    /// 12 bits. ICE knows only `binding`.
    package struct Method: RawRepresentable, Sendable, Hashable {
        package var rawValue: UInt16

        package init(rawValue: UInt16) {
            self.rawValue = rawValue & 0xFFF
        }

        package static let binding = Self(rawValue: 1)
    }

    package static let magicCookie: UInt32 = 0x2112_A442
    package static let headerLength = 20
    /// More attributes than this make a message an error. Real ones have fewer than ten.
    package static let maximumAttributes = 64

    package var messageClass: Class
    package var method: Method
    package var transactionID: STUNTransactionID
    /// All attributes in their order, MESSAGE-INTEGRITY and FINGERPRINT included.
    package var attributes: [STUNAttribute]
    /// Where MESSAGE-INTEGRITY begins, counted from the header's first byte; `nil` if there is none. Attributes behind
    /// it, FINGERPRINT excepted, are not protected, and `protected` leaves them out.
    package private(set) var integrityOffset: Int?

    /// A message to be written.
    package init(
        _ messageClass: Class, method: Method = .binding, transactionID: STUNTransactionID,
        attributes: [STUNAttribute] = []
    ) {
        self.messageClass = messageClass
        self.method = method
        self.transactionID = transactionID
        self.attributes = attributes
    }

    /// Parses exactly one message. A FINGERPRINT that is there must be right and last; MESSAGE-INTEGRITY is left to
    /// `hasValidIntegrity`.
    package init(parsing datagram: ByteBuffer) throws(STUNError) {
        let header = try STUNHeader(parsing: datagram)
        self.init(header.messageClass, method: header.method, transactionID: header.transactionID)
        let start = datagram.readerIndex
        let end = header.totalLength
        var offset = Self.headerLength
        while offset < end {
            guard self.attributes.count < Self.maximumAttributes else {
                throw .tooManyAttributes(limit: Self.maximumAttributes)
            }
            // The total length is a multiple of four, so an attribute's header is always there.
            guard let type = datagram.getInteger(at: start + offset, as: UInt16.self),
                let length = datagram.getInteger(at: start + offset + 2, as: UInt16.self).map({ Int($0) }),
                offset + 4 + length <= end, let value = datagram.getSlice(at: start + offset + 4, length: length)
            else {
                let length = datagram.getInteger(at: start + offset + 2, as: UInt16.self).map { Int($0) } ?? 0
                throw .truncatedAttribute(offset: offset, needed: 4 + length, available: end - offset)
            }
            let attribute = STUNAttribute(STUNAttributeType(rawValue: type), value)
            if attribute.type == .messageIntegrity, self.integrityOffset == nil { self.integrityOffset = offset }
            if attribute.type == .fingerprint {
                guard offset + 8 == end, length == 4,
                    value.getInteger(at: value.readerIndex, as: UInt32.self)
                        == STUNChecksum.fingerprint(of: datagram, length: offset)
                else { throw .wrongFingerprint }
            }
            self.attributes.append(attribute)
            offset += 4 + (length + 3) & ~3
        }
    }

    /// The message's bytes. `password` adds MESSAGE-INTEGRITY; FINGERPRINT is always added.
    ///
    /// The attributes must not contain either.
    package func write(password: String?) -> ByteBuffer {
        precondition(
            !self.attributes.contains { $0.type == .messageIntegrity || $0.type == .fingerprint },
            "integrity and fingerprint are added by writing")
        var buffer = ByteBuffer()
        buffer.reserveCapacity(128)
        let bits = UInt16(self.messageClass.rawValue)
        let method = self.method.rawValue
        let type = method & 0xF | (bits & 1) << 4 | (method & 0x70) << 1 | (bits & 2) << 7 | (method & 0xF80) << 2
        buffer.writeMultipleIntegers(
            type, UInt16(0), Self.magicCookie, self.transactionID.high, self.transactionID.low)
        for attribute in self.attributes {
            let length = attribute.value.readableBytes
            buffer.writeMultipleIntegers(attribute.type.rawValue, UInt16(truncatingIfNeeded: length))
            buffer.writeImmutableBuffer(attribute.value)
            buffer.writeRepeatingByte(0, count: (4 - length % 4) % 4)
        }
        precondition(buffer.readableBytes <= 65_000, "a STUN message of \(buffer.readableBytes) bytes")
        if let password {
            let digest = STUNChecksum.integrity(of: buffer, length: buffer.readableBytes, password: password)
            buffer.writeMultipleIntegers(STUNAttributeType.messageIntegrity.rawValue, UInt16(20))
            buffer.writeBytes(digest)
        }
        let checksum = STUNChecksum.fingerprint(of: buffer, length: buffer.readableBytes)
        buffer.writeMultipleIntegers(STUNAttributeType.fingerprint.rawValue, UInt16(4), checksum)
        buffer.setInteger(UInt16(buffer.readableBytes - Self.headerLength), at: 2)
        return buffer
    }
}

extension STUNMessage {
    /// Whether a datagram's first bytes are those of STUN, as the shared port needs to know. Spec: RFC 7983 §7.
    package static func isSTUN(_ datagram: ByteBuffer) -> Bool {
        guard let first = datagram.getInteger(at: datagram.readerIndex, as: UInt8.self), first < 4,
            datagram.getInteger(at: datagram.readerIndex + 4, as: UInt32.self) == Self.magicCookie
        else { return false }
        return datagram.readableBytes >= Self.headerLength
    }

    /// The USERNAME of a binding request, so that a first packet finds its session; `nil` for everything else.
    ///
    /// Verifies nothing and allocates nothing for names of up to 15 bytes.
    package static func username(of datagram: ByteBuffer) -> STUNUsername? {
        guard let header = try? STUNHeader(parsing: datagram), header.messageClass == .request,
            header.method == .binding
        else { return nil }
        let start = datagram.readerIndex
        var offset = Self.headerLength
        for _ in 0..<Self.maximumAttributes where offset < header.totalLength {
            guard let type = datagram.getInteger(at: start + offset, as: UInt16.self),
                let length = datagram.getInteger(at: start + offset + 2, as: UInt16.self).map({ Int($0) }),
                offset + 4 + length <= header.totalLength
            else { return nil }
            if type == STUNAttributeType.username.rawValue {
                guard let value = datagram.getSlice(at: start + offset + 4, length: length) else { return nil }
                return STUNUsername(parsing: value)
            }
            offset += 4 + (length + 3) & ~3
        }
        return nil
    }

    /// The first attribute of a type that MESSAGE-INTEGRITY covers (all of them where there is none), or FINGERPRINT.
    /// Spec: RFC 8489 §14.5.
    package func attribute(_ type: STUNAttributeType) -> STUNAttribute? {
        for attribute in self.attributes {
            if attribute.type == type { return attribute }
            if attribute.type == .messageIntegrity && type != .fingerprint { return nil }
        }
        return nil
    }

    package var username: STUNUsername? { self.attribute(.username).flatMap { STUNUsername(parsing: $0.value) } }

    /// PRIORITY: the priority that the sender gives the candidate it sends from.
    package var priority: UInt32? { self.integer(.priority) }

    package var hasUseCandidate: Bool { self.attribute(.useCandidate) != nil }

    /// The tie-breaker of ICE-CONTROLLING.
    package var iceControlling: UInt64? { self.integer(.iceControlling) }

    /// The tie-breaker of ICE-CONTROLLED.
    package var iceControlled: UInt64? { self.integer(.iceControlled) }

    package var errorCode: STUNErrorCode? {
        guard let value = self.attribute(.errorCode)?.value,
            let (hundreds, rest) = value.getMultipleIntegers(at: value.readerIndex + 2, as: (UInt8, UInt8).self)
        else { return nil }
        return STUNErrorCode(rawValue: Int(hundreds & 7) * 100 + Int(rest))
    }

    /// The address of XOR-MAPPED-ADDRESS; `nil` if there is none or it is malformed.
    package var xorMappedAddress: SocketAddress? {
        guard var value = self.attribute(.xorMappedAddress)?.value,
            let (_, family, port) = value.readMultipleIntegers(as: (UInt8, UInt8, UInt16).self),
            value.readableBytes == (family == 1 ? 4 : 16), family == 1 || family == 2
        else { return nil }
        let bytes = zip(value.readableBytesView, self.transactionID.addressMask).map { $0 ^ $1 }
        return try? SocketAddress(
            packedIPAddress: ByteBuffer(bytes: bytes), port: Int(port ^ UInt16(Self.magicCookie >> 16)))
    }

    /// Types that MESSAGE-INTEGRITY covers, that a receiver must know and that are not among `known`.
    package func unknownRequiredAttributes(known: Set<STUNAttributeType>) -> [STUNAttributeType] {
        var unknown: [STUNAttributeType] = []
        for attribute in self.attributes {
            if attribute.type == .messageIntegrity { break }
            if attribute.type.isComprehensionRequired && !known.contains(attribute.type) {
                unknown.append(attribute.type)
            }
        }
        return unknown
    }

    /// Whether MESSAGE-INTEGRITY is there and right for a password. `datagram` is what the message was parsed from.
    /// Costs one HMAC-SHA1; compares in constant time. Spec: RFC 8489 §9.1.3.
    package func hasValidIntegrity(in datagram: ByteBuffer, password: String) -> Bool {
        guard let offset = self.integrityOffset,
            let digest = self.attributes.first(where: { $0.type == .messageIntegrity })?.value,
            digest.readableBytes == 20
        else { return false }
        return STUNChecksum.isIntegrity(
            Array(digest.readableBytesView), of: datagram, length: offset, password: password)
    }

    private func integer<Integer: FixedWidthInteger>(_ type: STUNAttributeType) -> Integer? {
        guard let value = self.attribute(type)?.value, value.readableBytes == Integer.bitWidth / 8 else { return nil }
        return value.getInteger(at: value.readerIndex)
    }
}

extension STUNUsername {
    /// At most 509 bytes of UTF-8; `nil` for anything else. Spec: RFC 8489 §14.3.
    init?(parsing value: ByteBuffer) {
        guard value.readableBytes <= 509 else { return nil }
        let bytes = value.readableBytesView
        let colon = bytes.firstIndex(of: UInt8(ascii: ":")) ?? bytes.endIndex
        guard let receiver = String(validating: bytes[..<colon], as: UTF8.self),
            let sender = String(validating: bytes[colon...].dropFirst(), as: UTF8.self)
        else { return nil }
        self.init(receiver: receiver, sender: sender)
    }
}

/// The first 20 bytes, checked against the length of the datagram.
struct STUNHeader {
    let messageClass: STUNMessage.Class
    let method: STUNMessage.Method
    let transactionID: STUNTransactionID
    /// Bytes of the message with its header.
    let totalLength: Int

    init(parsing datagram: ByteBuffer) throws(STUNError) {
        let available = datagram.readableBytes
        guard
            let (type, length, cookie, high, low) = datagram.getMultipleIntegers(
                at: datagram.readerIndex, as: (UInt16, UInt16, UInt32, UInt32, UInt64).self)
        else { throw .truncated(needed: STUNMessage.headerLength, available: available) }
        guard type < 0x4000, cookie == STUNMessage.magicCookie else { throw .notSTUN }
        guard length % 4 == 0 else { throw .unalignedLength(Int(length)) }
        self.totalLength = STUNMessage.headerLength + Int(length)
        guard available >= self.totalLength else {
            throw .truncated(needed: self.totalLength, available: available)
        }
        guard available == self.totalLength else {
            throw .trailingBytes(length: self.totalLength, available: available)
        }
        let bits = UInt8(type >> 4 & 1 | type >> 7 & 2)
        // Two bits name all four classes.
        self.messageClass = STUNMessage.Class(rawValue: bits) ?? .request
        self.method = STUNMessage.Method(rawValue: type & 0xF | type >> 1 & 0x70 | type >> 2 & 0xF80)
        self.transactionID = STUNTransactionID(high: high, low: low)
    }
}
