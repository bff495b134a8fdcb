import Glibc

/// Reads the small files below `/proc` and `/sys/fs/cgroup`, which the kernel makes up when they are read.
enum ProcText {
    /// More than any of the files that are read here holds; the rest of a longer one is left out.
    static let maximumBytes = 1 << 20

    /// The whole text; `nil` if the file cannot be read. Such files come from memory, so this waits for no disk.
    static func read(_ path: String) -> String? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while bytes.count < self.maximumBytes {
            // Safety: the kernel writes at most as many bytes as the array has.
            let taken = unsafe chunk.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            }
            if taken < 0, errno == EINTR { continue }
            guard taken > 0 else { break }
            bytes += chunk.prefix(taken)
        }
        return String(decoding: bytes.prefix(self.maximumBytes), as: UTF8.self)
    }

    /// How many entries a folder has, at most `limit`; `nil` if it cannot be read.
    static func entryCount(_ path: String, limit: Int) -> Int? {
        guard let folder = unsafe opendir(path) else { return nil }
        // Safety: the folder was opened above and is closed once, here.
        defer { unsafe closedir(folder) }
        var count = 0
        // Safety: the entries are only counted; none is kept beyond the next call.
        while count < limit + 2, unsafe readdir(folder) != nil { count += 1 }
        // `.` and `..` are in it.
        return max(0, count - 2)
    }

    /// The numbers of a line, separated by white space; what is no number counts as 0.
    static func numbers(_ line: Substring) -> [UInt64] {
        line.split(whereSeparator: \.isWhitespace).map { UInt64($0) ?? 0 }
    }

    static func lines(_ text: String) -> [Substring] {
        text.split(separator: "\n", omittingEmptySubsequences: true)
    }
}
