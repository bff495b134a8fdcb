import Foundation
import Glibc

/// How a program is started: plainly, in a file system of its own making, or over a disk that is slow.
struct Launch: Sendable {
    /// Words in front of the program, which replace themselves with it, so that it keeps their process id.
    var words: [String] = []
    var environment: [String: String] = [:]
    /// Words in front of a command that is to reach what was started so, and the address that nodes listen on there.
    var reach: [String] = []
    var host = "127.0.0.1"

    func start(_ name: String, _ program: String, _ arguments: [String], _ sandbox: Sandbox) throws -> Child {
        let all = self.words + [program] + arguments
        return try sandbox.start(name, all[0], Array(all.dropFirst()), environment: self.environment)
    }

    // MARK: Mounts

    /// A root of its own is what a user needs who may not mount.
    private static let needsUser = getuid() != 0

    /// The program sees mounts that `script` makes and nobody else does; they are gone when it is.
    static func mounting(_ script: String) throws -> Launch {
        let user = self.needsUser ? ["--user", "--map-root-user"] : []
        return Launch(
            words: [try Tools.command("unshare")] + user + [
                "--mount", "--propagation", "private", "sh", "-ec", "\(script)\nexec \"$@\"", "sh",
            ])
    }

    /// Runs a shell's script among the mounts of a node.
    @discardableResult
    static func run(_ script: String, in node: ClusterNode, _ sandbox: Sandbox) async throws -> String {
        let user = self.needsUser ? ["--user", "--preserve-credentials"] : []
        return try await sandbox.run(
            try Tools.command("nsenter"), ["--target", "\(node.child.pid)"] + user + ["--mount", "sh", "-ec", script])
    }

    /// The modes of files hold for the program also if it runs as root.
    static func withoutOverride() throws -> Launch {
        guard getuid() == 0 else { return Launch() }
        return Launch(words: [try Tools.command("setpriv"), "--bounding-set=-dac_override,-dac_read_search"])
    }

    // MARK: Slow disks

    /// Each write below `folder`, and each new name of a file, takes `millis`.
    static func slow(_ sandbox: Sandbox, below folder: String, millis: Int) async throws -> Launch {
        let source = try sandbox.write("slow.c", self.slowSource)
        let library = sandbox.file("slow.so")
        let compiler = try (try? Tools.command("cc")) ?? Tools.command("clang")
        _ = try await sandbox.run(
            compiler, ["-shared", "-fPIC", "-O1", "-o", library.path, source.path, "-ldl"])
        return Launch(environment: [
            "LD_PRELOAD": library.path, "SLOW_FOLDER": "\(folder)/", "SLOW_MILLIS": "\(millis)",
        ])
    }

    private static let slowSource = #"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>

        static void pause_if(const char *path) {
            const char *folder = getenv("SLOW_FOLDER"), *millis = getenv("SLOW_MILLIS");
            if (folder && millis && strncmp(path, folder, strlen(folder)) == 0) usleep(1000 * atoi(millis));
        }

        static void pause_on(int file) {
            char link[64], path[4096];
            int saved = errno;
            snprintf(link, sizeof link, "/proc/self/fd/%d", file);
            ssize_t count = readlink(link, path, sizeof path - 1);
            if (count > 0) { path[count] = 0; pause_if(path); }
            errno = saved;
        }

        ssize_t write(int file, const void *bytes, size_t count) {
            static ssize_t (*real)(int, const void *, size_t);
            if (!real) real = dlsym(RTLD_NEXT, "write");
            pause_on(file);
            return real(file, bytes, count);
        }

        ssize_t pwrite(int file, const void *bytes, size_t count, off_t place) {
            static ssize_t (*real)(int, const void *, size_t, off_t);
            if (!real) real = dlsym(RTLD_NEXT, "pwrite");
            pause_on(file);
            return real(file, bytes, count, place);
        }

        int rename(const char *old, const char *name) {
            static int (*real)(const char *, const char *);
            if (!real) real = dlsym(RTLD_NEXT, "rename");
            pause_if(name);
            return real(old, name);
        }
        """#
}
