import Foundation
import Testing

extension ClusterTests {
    /// Every way in with every way out: `MatrixCell` is the table, `docs/protocols.md` what it says.
    @Suite struct MatrixTests {
        struct Row: CustomTestStringConvertible, Sendable {
            let ingest: MatrixIngest
            let video: MatrixVideo

            var testDescription: String { "\(self.ingest.rawValue), \(self.video.rawValue)" }
        }

        /// All, or those that `WEIR_TEST_MATRIX` names, as `rtmp-h264,whip-hevc`.
        static let rows: [Row] = {
            let all = MatrixIngest.allCases.flatMap { ingest in
                MatrixVideo.allCases.map { Row(ingest: ingest, video: $0) }
            }
            guard let names = ProcessInfo.processInfo.environment["WEIR_TEST_MATRIX"] else { return all }
            return all.filter { names.split(separator: ",").contains("\($0.ingest)-\($0.video)") }
        }()

        @Test("what comes in by one protocol goes out by each, picture by picture, with its sound", arguments: rows)
        func deliveries(_ row: Row) async throws {
            try await Sandbox.run { sandbox in
                let run = try await MatrixRun(sandbox, row.ingest, row.video)
                let publishers = try await run.publish()
                let others = try await run.publishImpossible()
                for audio in run.sounds { try await run.isLive(audio) }
                var recordings = try run.play()
                for (audio, publisher) in others { try await run.isLeftOut(audio, publisher) }
                for publisher in publishers { try await publisher.ends() }
                try await run.stop(recordings)
                for audio in run.sounds { recordings.append(try await run.recorded(audio)) }
                for (cell, difference) in try await run.differences(recordings) {
                    #expect(difference == nil, "\(cell)")
                }
            }
        }

        @Test("docs/protocols.md says what the table says")
        func document() throws {
            if let folder = ProcessInfo.processInfo.environment["WEIR_WRITE_DOCS"] {
                let file = URL(fileURLWithPath: folder).appendingPathComponent(MatrixDocument.name)
                try Data(MatrixDocument.text.utf8).write(to: file)
            } else {
                let file = Tools.repository.appendingPathComponent("docs").appendingPathComponent(MatrixDocument.name)
                let written = try String(contentsOf: file, encoding: .utf8)
                #expect(written == MatrixDocument.text, "make docs writes it")
            }
        }
    }
}
