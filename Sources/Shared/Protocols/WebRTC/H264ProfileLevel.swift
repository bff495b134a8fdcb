/// `profile-level-id` of H.264: three bytes of the sequence parameter set. Spec: RFC 6184 §8.1.
package struct H264ProfileLevel: Sendable, Hashable {
    /// A profile, the constraint flags taken into account; in the order of what a decoder must be able to do.
    package enum Profile: Int, Sendable, Hashable, Comparable {
        case constrainedBaseline, baseline, main, constrainedHigh, high, high10, high422, high444

        package static func < (left: Profile, right: Profile) -> Bool { left.rawValue < right.rawValue }
    }

    package var profileIndication: UInt8
    package var constraints: UInt8
    package var level: UInt8

    package init(profileIndication: UInt8, constraints: UInt8, level: UInt8) {
        self.profileIndication = profileIndication
        self.constraints = constraints
        self.level = level
    }

    /// Constrained Baseline at level 3.1: what every browser offers.
    package static let constrainedBaseline = H264ProfileLevel(profileIndication: 0x42, constraints: 0xE0, level: 0x1F)

    /// What a missing `profile-level-id` means. Spec: RFC 6184 §8.1.
    package static let implied = H264ProfileLevel(profileIndication: 0x42, constraints: 0, level: 0x0A)

    /// Takes six hexadecimal digits; `nil` for anything else.
    package init?(parsing text: some StringProtocol) {
        guard text.utf8.count == 6, text.utf8.allSatisfy({ $0 != 43 && $0 != 45 }), let value = UInt32(text, radix: 16)
        else { return nil }
        self.init(
            profileIndication: UInt8(value >> 16), constraints: UInt8(value >> 8 & 0xFF), level: UInt8(value & 0xFF))
    }

    /// Six digits in lower case.
    package var text: String {
        let value = UInt32(self.profileIndication) << 16 | UInt32(self.constraints) << 8 | UInt32(self.level)
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 6 - digits.count) + digits
    }

    /// The profile; `nil` for Extended and for profiles of scalability. Spec: RFC 6184 §8.1, table 5.
    package var profile: Profile? {
        let set1 = self.constraints & 0x40 != 0
        switch self.profileIndication {
        case 0x42: return set1 ? .constrainedBaseline : .baseline
        case 0x4D: return self.constraints & 0x80 != 0 ? .constrainedBaseline : .main
        case 0x58: return self.constraints & 0x80 == 0 ? nil : set1 ? .constrainedBaseline : .baseline
        case 0x64: return self.constraints & 0x0C == 0x0C ? .constrainedHigh : .high
        case 0x6E: return .high10
        case 0x7A: return .high422
        case 0xF4: return .high444
        default: return nil
        }
    }
}
