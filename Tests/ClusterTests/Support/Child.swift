import Foundation
import Glibc
import Synchronization

/// A process that a test started, with everything that it starts itself.
///
/// Each child leads a process group of its own, and is killed with it. Standard output and error go to one file.
final class Child: Sendable {
    /// How a process ended.
    enum Ending: Equatable, CustomStringConvertible {
        case exited(Int32)
        case killed(by: Int32)

        var description: String {
            switch self {
            case .exited(let code): "exited with status \(code)"
            case .killed(let signal): "was ended by signal \(signal)"
            }
        }
    }

    let name: String
    let command: String
    let pid: pid_t
    /// What it wrote.
    let log: URL
    private let state = Mutex<Ending?>(nil)

    /// Starts `program`, which is looked for in the PATH unless it is a path.
    ///
    /// - Parameter output: gets standard output instead of `log`.
    init(
        name: String, _ program: String, _ arguments: [String], environment: [String: String] = [:], folder: URL,
        log: URL, output: URL? = nil
    ) throws {
        self.name = name
        self.command = ([program] + arguments).joined(separator: " ")
        self.log = log
        // The tests' own variables would be settings that no program knows.
        let inherited = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("WEIR_") }
        let environment = inherited.merging(environment) { $1 }
        self.pid = try Self.spawn(
            ["env", "-C", folder.path, program] + arguments, environment: environment.map { "\($0)=\($1)" },
            log: log.path, output: output?.path)
        try Reaper.shared.adopt(self.pid)
    }

    private static func spawn(
        _ words: [String], environment: [String], log: String, output: String?
    ) throws -> pid_t {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        if let output {
            unsafe posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        } else {
            unsafe posix_spawn_file_actions_adddup2(&actions, 2, 1)
        }

        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        unsafe posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        var none = sigset_t()
        unsafe sigemptyset(&none)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        var all = sigset_t()
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)

        var argv: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] = unsafe environment.map { unsafe strdup($0) } + [nil]
        defer {
            unsafe (argv + envp).forEach { unsafe free($0) }
        }
        var pid: pid_t = 0
        let error = unsafe posix_spawnp(&pid, words[0], &actions, &attributes, &argv, &envp)
        guard error == 0 else { throw Failure("cannot start \(words[0]): \(unsafe String(cString: strerror(error)))") }
        return pid
    }

    // MARK: Ending

    /// How the process ended; `nil` while it runs.
    var ending: Ending? {
        self.state.withLock { ending in
            if ending == nil {
                var status: Int32 = 0
                guard unsafe waitpid(self.pid, &status, WNOHANG) == self.pid else { return nil }
                let signal = status & 0x7F
                ending = signal == 0 ? .exited((status >> 8) & 0xFF) : .killed(by: signal)
            }
            return ending
        }
    }

    var isRunning: Bool { self.ending == nil }

    /// Sends a signal to the process alone.
    func signal(_ number: Int32) {
        guard self.isRunning else { return }
        kill(self.pid, number)
    }

    /// Kills the process and all of its group, and waits for its end.
    func destroy() {
        kill(-self.pid, SIGKILL)
        // Safe to block on: nothing survives SIGKILL.
        while self.isRunning { usleep(2_000) }
        Reaper.shared.release(self.pid)
    }

    /// Waits for the end of the process.
    @discardableResult
    func wait(within limit: Duration) async throws -> Ending {
        try await until("\(self.name) ends", within: limit) { self.ending }
    }

    // MARK: Observing

    var text: String { (try? String(decoding: Data(contentsOf: self.log), as: UTF8.self)) ?? "" }

    /// The resident memory in bytes.
    var residentBytes: Int {
        get throws {
            let fields = try String(contentsOfFile: "/proc/\(self.pid)/statm", encoding: .utf8).split(separator: " ")
            guard fields.count > 1, let pages = Int(fields[1]) else {
                throw Failure("/proc/\(self.pid)/statm is short")
            }
            return pages * sysconf(Int32(_SC_PAGESIZE))
        }
    }

    /// What a failed test shows of this process.
    var report: String {
        let lines = self.text.split(separator: "\n").suffix(25).joined(separator: "\n    ")
        return "\(self.name) (\(self.ending?.description ?? "running")): \(self.command.prefix(400))\n    \(lines)"
    }
}

/// Kills all children, should this process end without having done so.
///
/// A shell of its own session reads their ids from a pipe, whose end tells that this process is gone.
final class Reaper: Sendable {
    static let shared = Reaper()

    private let pipe: FileHandle?

    private init() {
        let script = """
            trap '' INT TERM HUP; ids=
            while read -r verb id; do
                case $verb in
                    + ) ids="$ids $id " ;;
                    - ) case $ids in *" $id "*) ids="${ids%%" $id "*} ${ids#*" $id "}" ;; esac ;;
                esac
            done
            for id in $ids; do kill -9 -- "-$id" 2> /dev/null; done
            """
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["setsid", "sh", "-c", script]
        process.standardInput = pipe
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        // Children must not hold the pipe open.
        _ = fcntl(pipe.fileHandleForWriting.fileDescriptor, F_SETFD, FD_CLOEXEC)
        do {
            try process.run()
            self.pipe = pipe.fileHandleForWriting
        } catch {
            self.pipe = nil
        }
    }

    func adopt(_ pid: pid_t) throws {
        guard let pipe = self.pipe else { throw Failure("the process that cleans up could not be started") }
        try pipe.write(contentsOf: Data("+ \(pid)\n".utf8))
    }

    func release(_ pid: pid_t) { try? self.pipe?.write(contentsOf: Data("- \(pid)\n".utf8)) }
}
