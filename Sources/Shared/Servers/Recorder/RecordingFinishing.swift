import ISOBMFF
import Media
import MediaStorage
import NIOCore
import Recording

/// Brings a closed file into its last form under its last name. Blocks; for a thread of its own.
struct RecordingFinishing: Sendable {
    enum Outcome: Sendable {
        /// `warning`: why it is not in the form that was wanted.
        case finished(RecordingEntry, RecordingIndex, warning: String?)
        /// There was no media in it; the file is gone.
        case empty
        case failed(String)
    }

    /// How much of a file is read at once to repair it: whole packets of an MPEG-TS.
    private static let scanBytes = 188 * 5_000

    var entry: RecordingEntry
    /// `nil`: it has to be made anew from the file, which may be cut off anywhere.
    var index: RecordingIndex?
    var finishesProgressive: Bool
    /// A process before this one had come to finishing it, so that the file may have its last name already.
    var mayBeRenamed = false

    func run() -> Outcome {
        let part = ActiveRecording.partPath(of: self.entry)
        do {
            guard DiskFile.exists(part) else { return try self.withoutPart() }
            let index = try self.index ?? self.repaired(part)
            guard let index, index.count > 0 else {
                DiskFile.remove(part)
                return .empty
            }
            // The process that was here before may have come as far as this.
            DiskFile.remove(ActiveRecording.path(beside: self.entry, suffix: "tmp"))
            var warning: String?
            if self.entry.format == .mp4, self.finishesProgressive {
                do {
                    return try self.finished(try self.progressive(part), index, warning: nil)
                } catch {
                    DiskFile.remove(ActiveRecording.path(beside: self.entry, suffix: "tmp"))
                    warning = "\(error)"
                }
            }
            // Renaming takes no room, so a full disk costs the form of a file and not the file.
            return try self.finished(try DiskFile.rename(part, toFree: self.entry.path), index, warning: warning)
        } catch {
            return .failed("\(error)")
        }
    }

    private func finished(_ path: String, _ index: RecordingIndex, warning: String?) throws -> Outcome {
        var entry = self.entry
        entry.path = path
        entry.bytes = try DiskFile.open(path).byteCount
        entry.endMillis = entry.startMillis + index.endTime.millis
        entry.state = .finished
        return .finished(entry, index, warning: warning)
    }

    /// The bytes are under their last name already, or were never written.
    private func withoutPart() throws -> Outcome {
        guard self.mayBeRenamed, DiskFile.exists(self.entry.path) else { return .empty }
        let file = try DiskFile.open(self.entry.path)
        guard let index = try self.index ?? self.scanned(file, cuts: false) else { return .empty }
        return try self.finished(self.entry.path, index, warning: nil)
    }

    // MARK: Progressive MP4

    /// Writes the file anew with its tables in front. Returns its name.
    private func progressive(_ part: String) throws -> String {
        let source = try DiskFile.open(part)
        let intervals = try MP4Intervals(reading: source)
        let plan = try ProgressiveMP4.plan(joining: [ProgressiveMP4.Clip(source: 0, index: intervals.index)])
        let temporary = ActiveRecording.path(beside: self.entry, suffix: "tmp")
        let target = try DiskFile.create(temporary)
        try target.append(plan, from: [source])
        // The fragments are deleted next, so the copy has to be on the disk.
        try target.synchronize()
        let name = try DiskFile.rename(temporary, toFree: self.entry.path)
        DiskFile.remove(part)
        return name
    }

    // MARK: Repair

    /// Cuts the file where it is intact and makes its index; `nil` if nothing can be read of it.
    private func repaired(_ part: String) throws -> RecordingIndex? {
        try self.scanned(try DiskFile.open(part, isWritable: true), cuts: true)
    }

    private func scanned(_ file: DiskFile, cuts: Bool) throws -> RecordingIndex? {
        guard self.entry.format != .mp4 else { return try self.scannedMP4(file, cuts: cuts) }
        var scan = RecordingScan(format: self.entry.format)
        var position: Int64 = 0
        while position < file.byteCount {
            let bytes = try file.read(at: position, count: Self.scanBytes)
            guard bytes.readableBytes > 0 else { break }
            scan.receive(bytes)
            position += Int64(bytes.readableBytes)
        }
        scan.finish()
        guard scan.frameCount > 0 else { return nil }
        if cuts {
            if scan.intactEnd < file.byteCount { try file.truncate(to: scan.intactEnd) }
            for patch in RecordingPatch.patches(
                format: self.entry.format, byteCount: scan.intactEnd, duration: scan.index.endTime)
            {
                try file.write(patch.bytes, at: patch.position)
            }
        }
        return scan.index
    }

    private func scannedMP4(_ file: DiskFile, cuts: Bool) throws -> RecordingIndex? {
        let intervals: MP4Intervals
        do {
            intervals = try MP4Intervals(reading: file)
        } catch is ISOBMFFError {
            // The header itself is cut off.
            return nil
        }
        guard intervals.sampleCount > 0 else { return nil }
        if cuts, intervals.index.completeEnd < file.byteCount { try file.truncate(to: intervals.index.completeEnd) }
        return intervals.rebuiltIndex()
    }
}
