package import Logging
import NIOCore
import Synchronization

/// The disk writers of a node, one for each root folder, so that a slow or full disk is one folder's trouble only.
///
/// Root folders come from the configuration, so their number is small; each has a writer from its first use on.
package final class StorageWriters: Sendable {
    private let writers = Mutex<[String: StorageWriter]>([:])
    private let template: StorageWriterConfiguration
    private let logger: Logger

    /// `template` gives the limits of each writer; its root is ignored.
    package init(template: StorageWriterConfiguration = .init(root: "/nowhere"), logger: Logger) {
        self.template = template
        self.logger = logger
    }

    /// The writer of an absolute folder, whose `/` at the end does not count.
    package func writer(root: String) -> StorageWriter {
        var root = root
        while root.count > 1, root.hasSuffix("/") { root.removeLast() }
        return self.writers.withLock { writers in
            if let writer = writers[root] { return writer }
            var configuration = self.template
            configuration.root = root
            let writer = StorageWriter(configuration, logger: self.logger)
            writers[root] = writer
            return writer
        }
    }

    /// The writer whose root holds a file; the innermost if there are several.
    package func writer(holding path: String) -> StorageWriter? {
        self.writers.withLock { writers in
            writers.filter { path.hasPrefix($0.key + "/") }.max { $0.key.utf8.count < $1.key.utf8.count }?.value
        }
    }

    package var all: [StorageWriter] { self.writers.withLock { Array($0.values) } }

    /// See `StorageWriter.maintain`. Call it every few seconds.
    package func maintain() {
        for writer in self.all { writer.maintain() }
    }

    /// In the order of the roots.
    package func snapshots() -> [StorageSnapshot] {
        self.all.map { $0.snapshot() }.sorted { $0.root < $1.root }
    }

    /// Closes all writers, see `StorageWriter.close`.
    package func close() async {
        await withDiscardingTaskGroup { group in
            for writer in self.all { group.addTask { await writer.close() } }
        }
    }
}
