import Foundation

extension Recording {
    /// How many pictures there are, of which each is one of the source's, in one piece.
    ///
    /// A recording that was stopped ends anywhere, and with pictures that are shown later than others that are missing:
    /// as many as the source's encoder puts out of order do not count.
    func pictures(_ sandbox: Sandbox, of source: URL) async throws -> Int {
        let wanted = try await Media.pictures(sandbox, source).map(\.hash)
        let found = try await Media.pictures(sandbox, self.file).map(\.hash).dropLast(Self.reorderedPictures)
        guard let first = found.first, let start = wanted.firstIndex(of: first) else {
            throw Failure("\(self.child.name) starts with something else, or with nothing")
        }
        for (index, hash) in found.enumerated() where start + index >= wanted.count || wanted[start + index] != hash {
            throw Failure(
                "\(self.child.name): picture \(index) of \(found.count) is not the source's \(start + index)")
        }
        return found.count
    }

    /// How many pictures there are, each one of the source's and in its order, and how many of the source's are missing
    /// between them.
    func intactPictures(_ sandbox: Sandbox, of source: URL) async throws -> (count: Int, missing: Int) {
        let wanted = try await Media.pictures(sandbox, source).map(\.hash)
        let found = try await Media.pictures(sandbox, self.file).map(\.hash).dropLast(Self.reorderedPictures)
        guard let first = found.first, let start = wanted.firstIndex(of: first) else {
            throw Failure("\(self.child.name) starts with something else, or with nothing")
        }
        var next = start
        for (index, hash) in found.enumerated() {
            guard let place = wanted[next...].firstIndex(of: hash) else {
                throw Failure("\(self.child.name): picture \(index) of \(found.count) is none of the source's")
            }
            next = place + 1
        }
        return (found.count, next - start - found.count)
    }

    /// Three B-frames and the picture behind them.
    private static let reorderedPictures = 4

    /// Records more than `bytes`, and stops while the stream goes on: a player that waits for media hears no signal.
    func records(_ bytes: Int, within limit: Duration = .seconds(20)) async throws {
        try await self.grows(beyond: bytes, within: limit)
        try await self.stop()
    }
}
