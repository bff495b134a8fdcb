import Glibc

/// Why a file operation failed.
package enum StorageError: Error, Hashable {
    /// `ENOSPC`, `EDQUOT` or the process's own limit of a file's size.
    case diskFull
    /// `EROFS`.
    case readOnly
    /// `EACCES` or `EPERM`.
    case permission
    /// `ENOENT`, `ENOTDIR`: the folder or file is not there.
    case missing
    /// `EEXIST`: the file must not be there and is.
    case exists
    /// The writer's queue is full: the disk does not keep up. Nothing was written.
    case queueFull
    /// The writer was shut down. Nothing was written.
    case closed
    /// Any other `errno`.
    case system(code: Int32)

    /// Sorts the values of `errno`.
    package init(code: Int32) {
        switch code {
        case ENOSPC, EDQUOT, EFBIG: self = .diskFull
        case EROFS: self = .readOnly
        case EACCES, EPERM: self = .permission
        case ENOENT, ENOTDIR: self = .missing
        case EEXIST: self = .exists
        default: self = .system(code: code)
        }
    }

    /// The word for metrics and the API.
    package var label: String {
        switch self {
        case .diskFull: "disk_full"
        case .readOnly: "read_only"
        case .permission: "permission"
        case .missing: "missing"
        case .exists: "exists"
        case .queueFull: "slow"
        case .closed: "closed"
        case .system: "io"
        }
    }

    /// Whether it says something of the disk's state rather than of one file.
    package var concernsDisk: Bool {
        switch self {
        case .exists, .closed: false
        case .diskFull, .readOnly, .permission, .missing, .queueFull, .system: true
        }
    }
}

extension StorageError: CustomStringConvertible {
    /// Says what an operator can do.
    package var description: String {
        switch self {
        case .diskFull: "the disk is full: free some space, or shorten what is kept"
        case .readOnly: "the file system is read-only: look for its errors in the kernel's log, and mount it again"
        case .permission: "no permission to write there: check the owner and mode of the folder"
        case .missing: "the folder or file is gone: check that the disk is mounted"
        case .exists: "the file exists already"
        case .queueFull: "the disk is too slow for what is written: files are left out"
        case .closed: "the writer was shut down"
        case .system(let code): "the system says: \(Self.text(of: code)) (errno \(code))"
        }
    }

    private static func text(of code: Int32) -> String {
        var text = [CChar](repeating: 0, count: 256)
        // Safety: the function is given the array and its length, and ends what it writes with a zero byte.
        guard unsafe strerror_r(code, &text, text.count) == 0 else { return "unknown error" }
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
