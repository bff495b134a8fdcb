import Testing

@testable import MediaObjects

@Suite("MediaObjectQuery")
struct MediaObjectQueryTests {
    private static func read(_ text: String, _ name: MediaObjectName = .playlist(.video)) throws -> MediaObjectQuery {
        try MediaObjectQuery(text[...], for: name)
    }

    @Test("directives and the rewind are read, whatever stands between them")
    func directives() throws {
        let query = try Self.read("token=x&_HLS_msn=17&a&_HLS_part=3&_HLS_skip=YES&dvr=3600&_HLS_future=1")
        #expect(query == MediaObjectQuery(sequence: 17, part: 3, skip: .segments, rewindSeconds: 3_600))
        #expect(query.isBlocking)
        #expect(try Self.read("_HLS_skip=v2").skip == .dateRanges)
        #expect(try Self.read("_HLS_msn=0017").sequence == 17)
        #expect(try Self.read("") == MediaObjectQuery())
        #expect(try Self.read("&&") == MediaObjectQuery())
        #expect(try Self.read("dvr=999999999").rewindSeconds == MediaObjectQuery.maximumRewindSeconds)
    }

    @Test("what is written is read, and equal queries are written alike")
    func roundTrip() throws {
        for query in [
            MediaObjectQuery(), MediaObjectQuery(sequence: .max / 4, part: 0),
            MediaObjectQuery(sequence: 5, part: 2, skip: .dateRanges, rewindSeconds: 60),
        ] {
            #expect(try Self.read(query.text) == query)
        }
        #expect(try Self.read("dvr=1&_HLS_part=2&_HLS_msn=03").text == "_HLS_msn=3&_HLS_part=2&dvr=1")
    }

    @Test("playlists have directives, manifests a rewind, and other files nothing")
    func byName() throws {
        let text = "_HLS_msn=1&_HLS_skip=nonsense&dvr=5"
        #expect(try Self.read(text, .manifest) == MediaObjectQuery(rewindSeconds: 5))
        #expect(try Self.read(text, .multivariant) == MediaObjectQuery(rewindSeconds: 5))
        #expect(try Self.read(text, .segment(.video, epoch: 1, sequence: 1)) == MediaObjectQuery())
        #expect(try Self.read(text, .info) == MediaObjectQuery())
    }

    @Test(
        "nonsense is an error that names the parameter",
        arguments: [
            ("_HLS_msn=", MediaObjectQueryError.malformed(parameter: "_HLS_msn")),
            ("_HLS_msn", .malformed(parameter: "_HLS_msn")), ("_HLS_msn=-1", .malformed(parameter: "_HLS_msn")),
            ("_HLS_msn=+1", .malformed(parameter: "_HLS_msn")), ("_HLS_msn=1x", .malformed(parameter: "_HLS_msn")),
            ("_HLS_msn=12345678901234567890", .malformed(parameter: "_HLS_msn")),
            ("_HLS_msn=1&_HLS_part=x", .malformed(parameter: "_HLS_part")),
            ("_HLS_msn=1&_HLS_part=1234567890", .malformed(parameter: "_HLS_part")),
            ("_HLS_skip=yes", .malformed(parameter: "_HLS_skip")), ("dvr=0", .malformed(parameter: "dvr")),
            ("dvr=1.5", .malformed(parameter: "dvr")), ("dvr=1&dvr=2", .repeated(parameter: "dvr")),
            ("_HLS_msn=1&_HLS_msn=1", .repeated(parameter: "_HLS_msn")), ("_HLS_part=1", .partWithoutSequence),
        ])
    func nonsense(text: String, error: MediaObjectQueryError) {
        #expect(throws: error) { try Self.read(text) }
    }
}
