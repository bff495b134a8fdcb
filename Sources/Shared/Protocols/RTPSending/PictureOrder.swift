import Media
import NIOCore

/// Keeps a video track in the order in which it is shown, which is the only one that RTP players know.
///
/// Pictures that are shown before one that was already sent are B-frames. Those that nothing is predicted from are left
/// out. Others cannot be: once a few have come, the track is refused.
struct PictureOrder {
    enum Verdict: Equatable {
        case forward(isDiscardable: Bool)
        /// A non-reference B-frame.
        case drop
        /// Reordering remains; so it will be until the track changes.
        case refuse
    }

    /// Reference pictures that come too late, within one GOP, and are taken for a fault of the source's clock.
    private static let toleratedReferences = 2

    private var latest: MediaTime?
    private var lateReferences = 0
    private(set) var isRefused = false

    init() {}

    /// Judges the next frame in decoding order.
    mutating func judge(_ frame: Frame, lengthSize: Int) -> Verdict {
        if self.isRefused { return .refuse }
        let use = Self.use(of: frame, lengthSize: lengthSize)
        guard let latest = self.latest, !frame.isKeyframe else {
            // What is shown before a keyframe comes after it, if at all.
            self.latest = frame.pts
            self.lateReferences = 0
            return .forward(isDiscardable: false)
        }
        if frame.pts < latest {
            switch use {
            case .none, .leading: return .drop
            case .reference:
                self.lateReferences += 1
                guard self.lateReferences > Self.toleratedReferences else { return .forward(isDiscardable: false) }
                self.isRefused = true
                return .refuse
            }
        }
        self.latest = frame.pts
        return .forward(isDiscardable: use == .none)
    }

    // MARK: References

    private enum Use {
        case reference
        case none
        /// Only predicted from, if at all, by pictures that are left out with it.
        case leading
    }

    /// What a picture is used for by others.
    private static func use(of frame: Frame, lengthSize: Int) -> Use {
        guard frame.codec == .h264 || frame.codec == .hevc else { return .reference }
        let units = LengthPrefixedNALUnits(frame.payload, lengthSize: lengthSize)
        // A frame of more units is refused when it is cut up.
        for unit in units.prefix(LengthPrefixedNALUnits.maximumUnits) {
            guard let first = unit.getInteger(at: unit.readerIndex, as: UInt8.self) else { continue }
            if frame.codec == .h264 {
                // H.264 §7.4.1: slices have types 1 to 5; nal_ref_idc is 0 in all of a picture or in none.
                guard (1...5).contains(first & 0x1F) else { continue }
                return first >> 5 & 3 == 0 ? .none : .reference
            }
            // HEVC table 7-1: types up to 31 are slices; 6 to 9 lead a random access point and are skipped with it;
            // even types up to 14 are not predicted from within their temporal layer.
            let type = first >> 1 & 0x3F
            guard type < 32 else { continue }
            if (6...9).contains(type) { return .leading }
            return type <= 14 && type & 1 == 0 ? .none : .reference
        }
        return .reference
    }
}
