package import Media
import NIOCore

/// Keeps pictures back that refer to others that were lost.
///
/// After damage, and at the start, it waits for a keyframe that began behind the damage. Where that keyframe lets pictures
/// behind it refer to pictures before it (HEVC's CRA and BLA, H.264's recovery points), those of them that are shown before
/// it stay back, too.
package struct KeyframeGate: Sendable {
    private enum State: Sendable, Equatable {
        case waiting
        /// A keyframe at this presentation time was let through; pictures that are shown before it cannot be decoded.
        case leading(keyframe: MediaTime)
        case open
    }

    private let isEnabled: Bool
    private var state: State
    /// Frames that begin before this may be damaged.
    private var wholeFrom: Int64 = 0

    /// - Parameter isEnabled: without, everything goes out.
    package init(isEnabled: Bool) {
        self.isEnabled = isEnabled
        self.state = isEnabled ? .waiting : .open
    }

    /// Something is missing or wrong. `wholeFrom`: frames that begin at this position of the input, or behind it, are not
    /// hurt. Returns whether the video did not wait already.
    @discardableResult
    package mutating func damaged(wholeFrom position: Int64) -> Bool {
        guard self.isEnabled else { return false }
        self.wholeFrom = max(self.wholeFrom, position)
        let isNew = self.state != .waiting
        self.state = .waiting
        return isNew
    }

    /// Another video begins.
    package mutating func restart() {
        if self.isEnabled { self.state = .waiting }
    }

    /// Whether `frame`, the next in decoding order, goes out. `position`: where it begins in the input.
    package mutating func admits(_ frame: Frame, position: Int64) -> Bool {
        switch self.state {
        case .open: return true
        case .leading(let keyframe):
            guard Self.distance(from: keyframe, to: frame.pts) >= 0 else { return false }
            self.state = .open
            return true
        case .waiting:
            guard frame.isKeyframe, position >= self.wholeFrom else { return false }
            switch Self.beginning(of: frame) {
            case .closed: self.state = .open
            case .open: self.state = .leading(keyframe: frame.pts)
            case .missing: return false
            }
            return true
        }
    }

    /// Ticks between two times of a clock of 33 bits, whichever is first.
    private static func distance(from: MediaTime, to: MediaTime) -> Int64 {
        let period: Int64 = 1 << 33
        let distance = (to.ticks - from.ticks) & (period - 1)
        return distance < period / 2 ? distance : distance - period
    }

    private enum Beginning {
        /// Nothing behind the keyframe refers to what is in front of it: an IDR picture.
        case closed
        case open
        /// The first slice is not there.
        case missing
    }

    private static func beginning(of frame: Frame) -> Beginning {
        for unit in LengthPrefixedNALUnits(frame.payload, lengthSize: 4) {
            let isHEVC = frame.codec == .hevc
            guard let first = unit.getInteger(at: unit.readerIndex, as: UInt8.self) else { continue }
            let type = isHEVC ? first >> 1 & 0x3F : first & 0x1F
            guard isHEVC ? type < 32 : (1...5).contains(type) else { continue }
            // `first_slice_segment_in_pic_flag`, and `first_mb_in_slice` of 0 as an Exp-Golomb code.
            let payload = unit.getInteger(at: unit.readerIndex + (isHEVC ? 2 : 1), as: UInt8.self) ?? 0
            guard payload & 0x80 != 0 else { return .missing }
            return (isHEVC ? (19...20).contains(type) : type == 5) ? .closed : .open
        }
        return .missing
    }
}
