/// Why the database of an origin's files cannot be used.
package enum MediaDatabaseError: Error, Hashable {
    /// SQLite's primary result code, such as 14 for a missing folder or missing rights.
    case cannotOpen(code: Int32)
    /// The file is damaged, or is no SQLite database.
    case corrupt(code: Int32)
    /// A newer version changed the tables.
    case newerSchema
    /// Another process uses the file.
    case inUse
    /// Reading or writing failed; code 13 is a full disk, 10 an error of the disk, 8 a read-only file.
    case unavailable(code: Int32)
    /// It was closed.
    case closed
}

extension MediaDatabaseError: CustomStringConvertible {
    /// Says what an operator can do.
    package var description: String {
        switch self {
        case .cannotOpen(let code):
            "it cannot be opened (SQLite code \(code)): check that its folder exists, that this user may write there, "
                + "and that the disk is not full"
        case .corrupt(let code):
            "it is damaged or no SQLite file (SQLite code \(code)): move it away together with its -wal and -shm files; "
                + "segments and recordings that are on disk are no longer listed then"
        case .newerSchema: "it was written by a newer version: run that version, or move the file away"
        case .inUse: "another process uses it: give each origin a folder of its own"
        case .unavailable(let code): "reading or writing failed (SQLite code \(code)); 13 means that the disk is full"
        case .closed: "it is closed"
        }
    }
}
