import Glibc
import NIOCore

/// What does not change while the process runs.
package struct ProcessFacts: Sendable, Hashable {
    package var pid: Int
    package var parentPid: Int
    /// The command line, with values of flags that look like secrets replaced by `***`.
    package var arguments: String
    package var workingDirectory: String
    /// `uname`: name of the kernel, of the machine, its release, its version, and the hardware.
    package var system: [String]
    /// Interfaces that have only addresses which are not routed on the Internet.
    package var innerInterfaces: Set<String>

    /// The longest command line that is told.
    private static let maximumArguments = 4_096

    /// Reads them from the kernel.
    package static func read() -> ProcessFacts {
        let line = ProcText.read("/proc/self/cmdline") ?? ""
        return ProcessFacts(
            pid: Int(getpid()), parentPid: Int(getppid()),
            arguments: String(Self.masked(line.split(separator: "\0").map(String.init)).prefix(Self.maximumArguments)),
            workingDirectory: Self.currentDirectory(), system: Self.uname(), innerInterfaces: Self.innerInterfaces())
    }

    /// Words that make a flag's value a secret.
    private static let secretWords = ["token", "secret", "password", "key", "signature", "auth"]

    /// The command line in one text, with `--api-token=x` and `--api-token x` as `***`.
    package static func masked(_ arguments: [String]) -> String {
        var words: [String] = []
        var hidesNext = false
        for argument in arguments {
            let equals = argument.firstIndex(of: "=")
            let name = argument[..<(equals ?? argument.endIndex)].lowercased()
            let isFlag = argument.hasPrefix("-")
            if hidesNext, !isFlag {
                words.append("***")
                hidesNext = false
                continue
            }
            let isSecret = Self.secretWords.contains { name.contains($0) }
            if isSecret, let equals {
                words.append("\(argument[..<equals])=***")
            } else {
                words.append(argument)
            }
            hidesNext = isFlag && isSecret && equals == nil
        }
        return words.joined(separator: " ")
    }

    private static func currentDirectory() -> String {
        var bytes = [UInt8](repeating: 0, count: 4_096)
        // Safety: the kernel writes at most as many bytes as the array has.
        let count = unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe buffer.baseAddress.map { unsafe readlink("/proc/self/cwd", $0, buffer.count) } ?? 0
        }
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    private static func uname() -> [String] {
        ["ostype", "hostname", "osrelease", "version"].map { name in
            (ProcText.read("/proc/sys/kernel/\(name)") ?? "").split(separator: "\n").first.map(String.init) ?? ""
        } + [Self.machine]
    }

    private static var machine: String {
        #if arch(x86_64)
            "x86_64"
        #elseif arch(arm64)
            "aarch64"
        #else
            "unknown"
        #endif
    }

    private static func innerInterfaces() -> Set<String> {
        var inner: Set<String> = []
        var outer: Set<String> = []
        for device in (try? System.enumerateDevices()) ?? [] {
            guard let address = device.address?.ipAddress else { continue }
            if Self.isInner(address) { inner.insert(device.name) } else { outer.insert(device.name) }
        }
        return inner.subtracting(outer)
    }

    /// Whether an address is not routed on the Internet. Spec: RFC 1918, RFC 3927, RFC 4193, RFC 4291, RFC 6598.
    package static func isInner(_ address: String) -> Bool {
        let parts = address.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        if parts.count == 4, let first = parts[0], let second = parts[1] {
            switch (first, second) {
            case (10, _), (127, _), (192, 168), (169, 254), (172, 16...31), (100, 64...127): return true
            default: return false
            }
        }
        let text = address.lowercased()
        return text == "::1" || ["fc", "fd", "fe8", "fe9", "fea", "feb"].contains { text.hasPrefix($0) }
    }
}
