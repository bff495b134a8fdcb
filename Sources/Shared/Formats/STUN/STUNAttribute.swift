package import NIOCore

/// The number of an attribute. Spec: RFC 8489 §18.3, RFC 8445 §20.1.
package struct STUNAttributeType: RawRepresentable, Sendable, Hashable {
    package var rawValue: UInt16

    package init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    package static let mappedAddress = Self(rawValue: 0x0001)
    package static let username = Self(rawValue: 0x0006)
    package static let messageIntegrity = Self(rawValue: 0x0008)
    package static let errorCode = Self(rawValue: 0x0009)
    package static let unknownAttributes = Self(rawValue: 0x000A)
    package static let realm = Self(rawValue: 0x0014)
    package static let nonce = Self(rawValue: 0x0015)
    package static let messageIntegritySHA256 = Self(rawValue: 0x001C)
    package static let passwordAlgorithm = Self(rawValue: 0x001D)
    package static let userhash = Self(rawValue: 0x001E)
    package static let xorMappedAddress = Self(rawValue: 0x0020)
    package static let priority = Self(rawValue: 0x0024)
    package static let useCandidate = Self(rawValue: 0x0025)
    package static let software = Self(rawValue: 0x8022)
    package static let fingerprint = Self(rawValue: 0x8028)
    package static let iceControlled = Self(rawValue: 0x8029)
    package static let iceControlling = Self(rawValue: 0x802A)
    /// Browsers number their nominations with it.
    package static let nomination = Self(rawValue: 0xC001)

    /// A receiver that does not know the attribute must refuse the request. Spec: RFC 8489 §14.
    package var isComprehensionRequired: Bool { self.rawValue < 0x8000 }
}

/// One attribute as it stands on the wire, without padding.
package struct STUNAttribute: Sendable, Hashable {
    package var type: STUNAttributeType
    package var value: ByteBuffer

    package init(_ type: STUNAttributeType, _ value: ByteBuffer = ByteBuffer()) {
        self.type = type
        self.value = value
    }

    package static func username(_ text: String) -> STUNAttribute {
        STUNAttribute(.username, ByteBuffer(string: text))
    }

    package static func priority(_ priority: UInt32) -> STUNAttribute {
        STUNAttribute(.priority, ByteBuffer(integer: priority))
    }

    package static func iceControlling(tieBreaker: UInt64) -> STUNAttribute {
        STUNAttribute(.iceControlling, ByteBuffer(integer: tieBreaker))
    }

    package static func iceControlled(tieBreaker: UInt64) -> STUNAttribute {
        STUNAttribute(.iceControlled, ByteBuffer(integer: tieBreaker))
    }

    package static let useCandidate = STUNAttribute(.useCandidate)

    /// ERROR-CODE with a reason, which may be empty. Spec: RFC 8489 §14.8.
    package static func errorCode(_ code: STUNErrorCode, reason: String = "") -> STUNAttribute {
        var value = ByteBuffer()
        value.writeMultipleIntegers(UInt16(0), UInt8(code.rawValue / 100), UInt8(code.rawValue % 100))
        value.writeString(reason)
        return STUNAttribute(.errorCode, value)
    }

    /// UNKNOWN-ATTRIBUTES. Spec: RFC 8489 §14.13.
    package static func unknownAttributes(_ types: [STUNAttributeType]) -> STUNAttribute {
        var value = ByteBuffer()
        for type in types { value.writeInteger(type.rawValue) }
        return STUNAttribute(.unknownAttributes, value)
    }

    /// XOR-MAPPED-ADDRESS; `nil` for an address that is neither IPv4 nor IPv6. Spec: RFC 8489 §14.2.
    package static func xorMappedAddress(
        _ address: SocketAddress, transactionID: STUNTransactionID
    ) -> STUNAttribute? {
        guard let port = address.port, let bytes = address.stunAddressBytes else { return nil }
        var value = ByteBuffer()
        value.writeMultipleIntegers(UInt8(0), UInt8(bytes.count == 4 ? 1 : 2))
        value.writeInteger(UInt16(truncatingIfNeeded: port) ^ UInt16(STUNMessage.magicCookie >> 16))
        for (byte, mask) in zip(bytes, transactionID.addressMask) { value.writeInteger(byte ^ mask) }
        return STUNAttribute(.xorMappedAddress, value)
    }
}

/// The errors that binding requests are answered with. Spec: RFC 8489 §14.8, RFC 8445 §7.3.1.1.
package struct STUNErrorCode: RawRepresentable, Sendable, Hashable {
    /// 300–699.
    package var rawValue: Int

    package init(rawValue: Int) {
        self.rawValue = rawValue
    }

    package static let badRequest = Self(rawValue: 400)
    package static let unauthenticated = Self(rawValue: 401)
    package static let unknownAttribute = Self(rawValue: 420)
    package static let roleConflict = Self(rawValue: 487)
    package static let serverError = Self(rawValue: 500)
}

/// The two names of a USERNAME in ICE. Spec: RFC 8445 §7.2.2.
package struct STUNUsername: Sendable, Hashable {
    /// The ufrag of the agent that receives the request: ours in requests that we receive.
    package var receiver: String
    /// The ufrag of the agent that sends it; empty if there is no colon.
    package var sender: String

    package init(receiver: String, sender: String) {
        self.receiver = receiver
        self.sender = sender
    }
}

extension SocketAddress {
    /// The address in network byte order: 4 or 16 bytes; `nil` for Unix sockets. A socket of both families sees IPv4
    /// peers as mapped addresses, which are given back as what they are.
    fileprivate var stunAddressBytes: [UInt8]? {
        let range: Range<Int>
        switch self {
        case .v4: range = 4..<8
        case .v6: range = 8..<24
        case .unixDomainSocket: return nil
        }
        let bytes = unsafe self.withSockAddr { address, length in
            // Safety: `length` bytes are readable, and both families' structures reach beyond their range.
            unsafe Array(UnsafeRawBufferPointer(start: address, count: length)[range])
        }
        let isMapped = bytes.count == 16 && bytes[..<10].allSatisfy { $0 == 0 } && bytes[10...11] == [0xFF, 0xFF]
        return isMapped ? Array(bytes[12...]) : bytes
    }
}
