/// Why the coordinator's database cannot be used.
package enum CoordinatorStoreError: Error, Equatable {
    /// SQLite's primary result code, such as 14 for a missing folder or missing rights.
    case cannotOpen(path: String, code: Int32)
    /// The file is damaged, or is no SQLite database.
    case corrupt(path: String, code: Int32)
    /// A newer version of the coordinator changed the tables.
    case newerSchema(path: String)
    /// Another coordinator uses the file.
    case inUse(path: String)
    /// Reading or writing failed; code 13 is a full disk, 10 an error of the disk.
    case unavailable(code: Int32)
    /// The copy could not be written; the code is SQLite's, or that of the system call.
    case backupFailed(path: String, code: Int32)
}

extension CoordinatorStoreError: CustomStringConvertible {
    /// Names the file and says what an operator can do.
    package var description: String {
        switch self {
        case .cannotOpen(let path, let code):
            "cannot open the coordinator's database \(path) (SQLite code \(code)): check that its folder exists, "
                + "that this user may write there, and that the disk is not full"
        case .corrupt(let path, let code):
            "the coordinator's database \(path) is damaged or is no SQLite file (SQLite code \(code)): move it away "
                + "together with \(path)-wal and \(path)-shm, and start again; the nodes announce their streams anew, "
                + "only drain marks and the event history are lost"
        case .newerSchema(let path):
            "the coordinator's database \(path) was written by a newer version: run that version, or move the file away"
        case .inUse(let path):
            "the coordinator's database \(path) is in use by another coordinator: stop that one, or choose another file"
        case .backupFailed(let path, let code):
            "the copy \(path) of the coordinator's database could not be written (code \(code)): check that the folder "
                + "exists, that this user may write there, and that the disk is not full"
        case .unavailable(let code):
            "the coordinator's database failed (SQLite code \(code)); 13 means that the disk is full"
        }
    }
}
