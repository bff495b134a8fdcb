import Foundation
package import NIOCore

/// A folder that is gone after the test.
package final class Folder: Sendable {
    package let path: String

    package init() throws {
        self.path = NSTemporaryDirectory() + "weir-test-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    @discardableResult
    package func file(_ name: String, _ bytes: ByteBuffer) throws -> String {
        try Data(bytes.readableBytesView).write(to: URL(fileURLWithPath: "\(self.path)/\(name)"))
        return "\(self.path)/\(name)"
    }
}
