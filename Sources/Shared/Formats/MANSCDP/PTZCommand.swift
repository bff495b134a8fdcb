/// What a camera is told to do, as eight bytes in hexadecimal digits. Spec: GB/T 28181 annex A.3.
package enum PTZCommand: Sendable, Hashable {
    /// Speeds of −255 to 255 (pan to the right, tilt up) and −15 to 15 (zoom in). All 0 stops.
    case move(pan: Int, tilt: Int, zoom: Int)
    /// Speeds of −255 to 255: focus far, iris open. All 0 stops.
    case lens(focus: Int, iris: Int)
    /// 1 to 255.
    case setPreset(Int)
    case callPreset(Int)
    case deletePreset(Int)
    /// Group and preset 1 to 255; preset 0 deletes the whole group where it is deleted.
    case addCruisePoint(group: Int, preset: Int)
    case deleteCruisePoint(group: Int, preset: Int)
    /// Speed and dwell are 12 bits; the dwell is in seconds.
    case setCruiseSpeed(group: Int, speed: Int)
    case setCruiseDwell(group: Int, seconds: Int)
    case startCruise(group: Int)
    case startScan(group: Int)
    case setScanLeft(group: Int)
    case setScanRight(group: Int)
    case setScanSpeed(group: Int, speed: Int)
    /// A switch such as the wiper, which is 1.
    case auxiliary(Int, isOn: Bool)

    /// The digits, such as `A50F01081F0000D4`. Values out of range are held at the nearest.
    package var digits: String {
        let (command, one, two, three) = self.parts
        // The low half of the second byte is the sum of the three halves before it.
        var bytes: [UInt8] = [0xA5, 0x0F, 0x01, command, one, two, three]
        bytes.append(bytes.reduce(0, &+))
        return bytes.map { byte in
            let digits = String(byte, radix: 16, uppercase: true)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
    }

    private static func byte(_ value: Int) -> UInt8 { UInt8(clamping: value.magnitude) }

    /// 12 bits: the low 8, and the high 4 at the top of the next byte.
    private static func wide(_ value: Int) -> (UInt8, UInt8) {
        let value = min(max(value, 0), 0xFFF)
        return (UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8) << 4)
    }

    private var parts: (UInt8, UInt8, UInt8, UInt8) {
        switch self {
        case .move(let pan, let tilt, let zoom):
            var command: UInt8 = pan > 0 ? 0x01 : pan < 0 ? 0x02 : 0
            command |= tilt < 0 ? 0x04 : tilt > 0 ? 0x08 : 0
            command |= zoom > 0 ? 0x10 : zoom < 0 ? 0x20 : 0
            return (command, Self.byte(pan), Self.byte(tilt), UInt8(min(zoom.magnitude, 15)) << 4)
        case .lens(let focus, let iris):
            var command: UInt8 = 0x40
            command |= focus > 0 ? 0x01 : focus < 0 ? 0x02 : 0
            command |= iris > 0 ? 0x04 : iris < 0 ? 0x08 : 0
            return (command, Self.byte(focus), Self.byte(iris), 0)
        case .setPreset(let number): return (0x81, 0, Self.byte(number), 0)
        case .callPreset(let number): return (0x82, 0, Self.byte(number), 0)
        case .deletePreset(let number): return (0x83, 0, Self.byte(number), 0)
        case .addCruisePoint(let group, let preset): return (0x84, Self.byte(group), Self.byte(preset), 0)
        case .deleteCruisePoint(let group, let preset): return (0x85, Self.byte(group), Self.byte(preset), 0)
        case .setCruiseSpeed(let group, let speed):
            let (low, high) = Self.wide(speed)
            return (0x86, Self.byte(group), low, high)
        case .setCruiseDwell(let group, let seconds):
            let (low, high) = Self.wide(seconds)
            return (0x87, Self.byte(group), low, high)
        case .startCruise(let group): return (0x88, Self.byte(group), 0, 0)
        case .startScan(let group): return (0x89, Self.byte(group), 0, 0)
        case .setScanLeft(let group): return (0x89, Self.byte(group), 1, 0)
        case .setScanRight(let group): return (0x89, Self.byte(group), 2, 0)
        case .setScanSpeed(let group, let speed):
            let (low, high) = Self.wide(speed)
            return (0x8A, Self.byte(group), low, high)
        case .auxiliary(let number, let isOn): return (isOn ? 0x8C : 0x8D, Self.byte(number), 0, 0)
        }
    }
}
