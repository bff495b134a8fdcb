import NIOCore
import Testing

@testable import Playlists

@Suite struct MediaPlaylistTests {
    private static func segment(_ number: Int, millis: Int64 = 2000) -> MediaPlaylist.Segment {
        MediaPlaylist.Segment(uri: "\(number).m4s", duration: PlaylistDuration(millis: millis))
    }

    private static func parts(of number: Int, _ count: Int) -> [MediaPlaylist.Part] {
        (0..<count).map {
            MediaPlaylist.Part(
                uri: "\(number).\($0).m4s", duration: PlaylistDuration(millis: 200), isIndependent: $0 == 0)
        }
    }

    @Test("A live playlist of MPEG-TS segments is what RFC 8216 shows")
    func plain() {
        var playlist = MediaPlaylist(targetDuration: 8, mediaSequence: 2680)
        playlist.segments = [
            .init(uri: "a-2680.ts", duration: PlaylistDuration(millis: 7975)),
            .init(uri: "a-2681.ts", duration: PlaylistDuration(ticks: 714_600, timescale: 90_000)),
        ]
        #expect(
            playlist.text() == """
                #EXTM3U
                #EXT-X-VERSION:3
                #EXT-X-TARGETDURATION:8
                #EXT-X-MEDIA-SEQUENCE:2680
                #EXT-X-DISCONTINUITY-SEQUENCE:0
                #EXTINF:7.975,
                a-2680.ts
                #EXTINF:7.940,
                a-2681.ts

                """)
    }

    @Test("A low-latency playlist lists parts, hints and reports in the order players need")
    func lowLatency() {
        var playlist = MediaPlaylist(
            targetDuration: 2, mediaSequence: 430_000_000, discontinuitySequence: 430_000_001,
            hasIndependentSegments: true)
        playlist.serverControl = .init(
            canBlockReload: true, partHoldBack: PlaylistDuration(millis: 600), holdBack: PlaylistDuration(millis: 6000),
            canSkipUntil: PlaylistDuration(millis: 12_000))
        playlist.partTarget = PlaylistDuration(millis: 200)
        let map = MediaPlaylist.Map(uri: "_video-7-init0.mp4")
        var first = Self.segment(0)
        first.map = map
        first.programDateTimeMillis = someMillis
        var second = Self.segment(1, millis: 400)
        second.map = map
        second.programDateTimeMillis = someMillis + 2000
        second.parts = Self.parts(of: 1, 2)
        playlist.segments = [first, second]
        playlist.openSegment = .init(
            programDateTimeMillis: someMillis + 2400, map: map, parts: Self.parts(of: 2, 1))
        playlist.preloadHints = [.init(uri: "2.1.m4s")]
        playlist.renditionReports = [.init(uri: "_audio.m3u8", lastSequence: 430_000_002, lastPart: 0)]
        #expect(
            playlist.text() == """
                #EXTM3U
                #EXT-X-VERSION:9
                #EXT-X-INDEPENDENT-SEGMENTS
                #EXT-X-TARGETDURATION:2
                #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.600,HOLD-BACK=6.000,CAN-SKIP-UNTIL=12.000
                #EXT-X-PART-INF:PART-TARGET=0.200
                #EXT-X-MEDIA-SEQUENCE:430000000
                #EXT-X-DISCONTINUITY-SEQUENCE:430000001
                #EXT-X-MAP:URI="_video-7-init0.mp4"
                #EXT-X-PROGRAM-DATE-TIME:2026-11-22T00:20:30.000Z
                #EXTINF:2.000,
                0.m4s
                #EXT-X-PROGRAM-DATE-TIME:2026-11-22T00:20:32.000Z
                #EXT-X-PART:DURATION=0.200,URI="1.0.m4s",INDEPENDENT=YES
                #EXT-X-PART:DURATION=0.200,URI="1.1.m4s"
                #EXTINF:0.400,
                1.m4s
                #EXT-X-PROGRAM-DATE-TIME:2026-11-22T00:20:32.400Z
                #EXT-X-PART:DURATION=0.200,URI="2.0.m4s",INDEPENDENT=YES
                #EXT-X-PRELOAD-HINT:TYPE=PART,URI="2.1.m4s"
                #EXT-X-RENDITION-REPORT:URI="_audio.m3u8",LAST-MSN=430000002,LAST-PART=0

                """)
    }

    @Test("A playlist without a part target has no parts and no hints, but its reports")
    func partsNeedTarget() {
        var playlist = MediaPlaylist(targetDuration: 2)
        var segment = Self.segment(0)
        segment.parts = Self.parts(of: 0, 3)
        playlist.segments = [segment]
        playlist.openSegment = .init(isDiscontinuity: true, parts: Self.parts(of: 1, 1))
        playlist.preloadHints = [.init(uri: "x")]
        playlist.renditionReports = [.init(uri: "r.m3u8", lastSequence: 0)]
        #expect(
            playlist.lines().suffix(4) == [
                "#EXTINF:2.000,", "0.m4s", "#EXT-X-RENDITION-REPORT:URI=\"r.m3u8\",LAST-MSN=0", "",
            ])
    }

    @Test("The tags of an open segment wait for its first part")
    func openSegmentWithoutParts() {
        var playlist = MediaPlaylist(targetDuration: 2, partTarget: PlaylistDuration(millis: 200))
        playlist.segments = [Self.segment(0)]
        playlist.openSegment = .init(programDateTimeMillis: 0, isDiscontinuity: true, map: .init(uri: "i"))
        #expect(playlist.lines().suffix(2) == ["0.m4s", ""])
        playlist.openSegment?.parts = [.init(uri: "p", duration: PlaylistDuration(millis: 100), isGap: true)]
        #expect(
            playlist.lines().suffix(6) == [
                "0.m4s", "#EXT-X-DISCONTINUITY", "#EXT-X-MAP:URI=\"i\"",
                "#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:00.000Z",
                "#EXT-X-PART:DURATION=0.100,URI=\"p\",GAP=YES", "",
            ])
    }

    @Test("A playlist that has ended has neither open segment nor hints nor reports")
    func ended() {
        var playlist = MediaPlaylist(targetDuration: 2, isEnded: true, partTarget: PlaylistDuration(millis: 200))
        playlist.segments = [Self.segment(0)]
        playlist.openSegment = .init(parts: Self.parts(of: 1, 1))
        playlist.preloadHints = [.init(uri: "x")]
        playlist.renditionReports = [.init(uri: "r.m3u8", lastSequence: 0)]
        #expect(playlist.lines().suffix(4) == ["#EXTINF:2.000,", "0.m4s", "#EXT-X-ENDLIST", ""])
    }

    @Test(
        "The kind is a playlist type",
        arguments: [
            (MediaPlaylist.Kind.live, nil as String?), (.event, "#EXT-X-PLAYLIST-TYPE:EVENT"),
            (.onDemand, "#EXT-X-PLAYLIST-TYPE:VOD"),
        ])
    func kind(kind: MediaPlaylist.Kind, line: String?) {
        var playlist = MediaPlaylist(targetDuration: 2, kind: kind)
        #expect(playlist.lines().first { $0.hasPrefix("#EXT-X-PLAYLIST-TYPE") } == line)
        // Only a live playlist loses segments, so only there a number of 0 says something.
        let isStated = playlist.lines().contains("#EXT-X-DISCONTINUITY-SEQUENCE:0")
        #expect(isStated == (kind == .live))
        playlist.discontinuitySequence = 3
        #expect(playlist.lines().contains("#EXT-X-DISCONTINUITY-SEQUENCE:3"))
    }

    @Test("The start offset counts from either end")
    func start() {
        var playlist = MediaPlaylist(targetDuration: 2, start: .init(offset: PlaylistDuration(millis: 1500)))
        #expect(playlist.lines().contains("#EXT-X-START:TIME-OFFSET=1.500"))
        playlist.start = .init(offset: PlaylistDuration(millis: 6000), countsFromEnd: true, isPrecise: true)
        #expect(playlist.lines().contains("#EXT-X-START:TIME-OFFSET=-6.000,PRECISE=YES"))
    }

    @Test("Maps are repeated only where they change, byte ranges and gaps are told")
    func mapsRangesGaps() {
        let map = MediaPlaylist.Map(uri: "f.mp4", byteRange: .init(offset: 0, length: 720))
        var playlist = MediaPlaylist(targetDuration: 2)
        playlist.segments = [
            .init(
                uri: "f.mp4", duration: PlaylistDuration(millis: 1000), byteRange: .init(offset: 720, length: 5000),
                map: map),
            .init(uri: "g.m4s", duration: PlaylistDuration(millis: 1000), map: map, isGap: true),
            .init(
                uri: "h.m4s", duration: PlaylistDuration(millis: 1000), isDiscontinuity: true, map: .init(uri: "h.mp4")),
        ]
        #expect(
            playlist.lines().dropFirst(5) == [
                "#EXT-X-MAP:URI=\"f.mp4\",BYTERANGE=\"720@0\"", "#EXTINF:1.000,", "#EXT-X-BYTERANGE:5000@720", "f.mp4",
                "#EXT-X-GAP", "#EXTINF:1.000,", "g.m4s",
                "#EXT-X-DISCONTINUITY", "#EXT-X-MAP:URI=\"h.mp4\"", "#EXTINF:1.000,", "h.m4s", "",
            ])
        #expect(playlist.version == 6)
    }

    @Test("The version follows from what the playlist uses and from what the server offers")
    func version() {
        var playlist = MediaPlaylist(targetDuration: 2)
        #expect(playlist.version == 3)
        playlist.segments = [.init(uri: "a", duration: .zero, byteRange: .init(offset: 0, length: 1))]
        #expect(playlist.version == 4)
        playlist.openSegment = .init(map: .init(uri: "i"))
        #expect(playlist.version == 6)
        playlist.serverControl = .init(canBlockReload: true)
        #expect(playlist.version == 6)
        playlist.serverControl?.canSkipUntil = PlaylistDuration(millis: 12_000)
        #expect(playlist.version == 9)
        playlist.serverControl?.canSkipDateRanges = true
        #expect(playlist.version == 10)
    }

    @Test("Keys are written where they change, around initialization sections that are not encrypted")
    func keys() {
        let one = MediaPlaylist.Key(uri: "_key-7-0.key", iv: 0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10)
        let two = MediaPlaylist.Key(uri: "_key-7-1.key")
        let map = MediaPlaylist.Map(uri: "i.mp4")
        let second = PlaylistDuration(millis: 1000)
        var playlist = MediaPlaylist(targetDuration: 2)
        playlist.segments = [
            .init(uri: "0", duration: second, map: map, key: one),
            .init(uri: "1", duration: second, map: map, key: one),
            .init(uri: "2", duration: second, map: map, key: two),
            .init(uri: "3", duration: second, isDiscontinuity: true, map: .init(uri: "j.mp4"), key: two),
            .init(uri: "4", duration: second, map: .init(uri: "j.mp4")),
        ]
        let told = playlist.lines().filter { !$0.hasPrefix("#EXTINF") }.dropFirst(5)
        #expect(
            told == [
                "#EXT-X-MAP:URI=\"i.mp4\"",
                "#EXT-X-KEY:METHOD=AES-128,URI=\"_key-7-0.key\",IV=0x0102030405060708090A0B0C0D0E0F10", "0", "1",
                "#EXT-X-KEY:METHOD=AES-128,URI=\"_key-7-1.key\"", "2",
                "#EXT-X-DISCONTINUITY", "#EXT-X-KEY:METHOD=NONE", "#EXT-X-MAP:URI=\"j.mp4\"",
                "#EXT-X-KEY:METHOD=AES-128,URI=\"_key-7-1.key\"", "3",
                "#EXT-X-KEY:METHOD=NONE", "4", "",
            ])
    }

    @Test("The key of an encrypted initialization section comes before it")
    func encryptedMap() {
        let key = MediaPlaylist.Key(method: .sampleAES, uri: "k", iv: 1)
        var playlist = MediaPlaylist(targetDuration: 2)
        playlist.segments = [
            .init(uri: "0", duration: .zero, map: .init(uri: "i.mp4", isEncrypted: true), key: key),
            .init(uri: "1", duration: .zero, map: .init(uri: "j.mp4", isEncrypted: true), key: key),
        ]
        #expect(
            playlist.lines().dropFirst(5) == [
                "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"k\",IV=0x00000000000000000000000000000001",
                "#EXT-X-MAP:URI=\"i.mp4\"", "#EXTINF:0.000,", "0",
                "#EXT-X-MAP:URI=\"j.mp4\"", "#EXTINF:0.000,", "1", "",
            ])
    }

    @Test("Hints may name a map and a byte range")
    func hints() {
        var playlist = MediaPlaylist(targetDuration: 2, partTarget: PlaylistDuration(millis: 200))
        playlist.preloadHints = [
            .init(resource: .map, uri: "i.mp4"), .init(uri: "f.m4s", byteRangeStart: 500, byteRangeLength: 20),
        ]
        #expect(
            playlist.lines().suffix(3) == [
                "#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"i.mp4\"",
                "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"f.m4s\",BYTERANGE-START=500,BYTERANGE-LENGTH=20", "",
            ])
    }

    @Test("No name breaks out of its line or its quotation marks")
    func hostileNames() {
        var playlist = MediaPlaylist(targetDuration: 2, partTarget: PlaylistDuration(millis: 200))
        var segment = Self.segment(0)
        segment.uri = "a b\n#EXT-X-ENDLIST\"\u{7F}é"
        segment.map = .init(uri: "i\",X=\"")
        segment.programDateTimeMillis = 0
        playlist.segments = [segment]
        playlist.dateRanges = [
            DateRange(
                id: "a\"b\nc\u{85}d", startMillis: 0, attributes: [.init(name: "X-\"", value: .text("no"))])
        ]
        #expect(
            playlist.lines().dropFirst(6) == [
                "#EXT-X-DATERANGE:ID=\"a'b c d\",START-DATE=\"1970-01-01T00:00:00.000Z\"",
                "#EXT-X-MAP:URI=\"i%22,X=%22\"", "#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:00.000Z",
                "#EXTINF:2.000,", "a%20b%0A#EXT-X-ENDLIST%22%7Fé", "",
            ])
    }
}

@Suite struct DateRangeTests {
    private static func line(_ range: DateRange) -> String {
        var buffer = ByteBuffer()
        range.write(into: &buffer)
        return String(buffer: buffer)
    }

    @Test("A date range tells all it has")
    func full() {
        let range = DateRange(
            id: "cue-1", classIdentifier: "com.example.ad", startMillis: someMillis, endMillis: someMillis + 30_500,
            duration: PlaylistDuration(millis: 30_500), plannedDuration: PlaylistDuration(millis: 30_000),
            scte35Command: [0xFC], scte35Out: [0xFC, 0x30, 0x0A], scte35In: [],
            attributes: [
                .init(name: "X-TITLE", value: .text("näh \"ok\"")), .init(name: "X-BYTES", value: .bytes([1, 0xAB])),
                .init(name: "X-N", value: .number(unscaled: -15, decimals: 1)),
                .init(name: "X-M", value: .number(unscaled: 42, decimals: 0)),
                .init(name: "X-S", value: .number(unscaled: 5, decimals: 3)),
            ])
        #expect(
            Self.line(range)
                == "#EXT-X-DATERANGE:ID=\"cue-1\",CLASS=\"com.example.ad\",START-DATE=\"2026-11-22T00:20:30.000Z\","
                + "END-DATE=\"2026-11-22T00:21:00.500Z\",DURATION=30.500,PLANNED-DURATION=30.000,"
                + "X-TITLE=\"näh 'ok'\",X-BYTES=0x01AB,X-N=-1.5,X-M=42,X-S=0.005,SCTE35-CMD=0xFC,SCTE35-OUT=0xFC300A,"
                + "SCTE35-IN=0x\n")
        #expect(
            Self.line(DateRange(id: "2", classIdentifier: "c", startMillis: 0, endsOnNext: true))
                == "#EXT-X-DATERANGE:ID=\"2\",CLASS=\"c\",START-DATE=\"1970-01-01T00:00:00.000Z\",END-ON-NEXT=YES\n")
    }

    @Test("Date ranges need a program date time in the playlist")
    func needProgramDateTime() {
        var playlist = MediaPlaylist(targetDuration: 2)
        playlist.segments = [.init(uri: "a", duration: .zero)]
        playlist.dateRanges = [DateRange(id: "1", startMillis: 0)]
        #expect(!playlist.text().contains("DATERANGE"))
        playlist.segments[0].programDateTimeMillis = 0
        #expect(playlist.text().contains("#EXT-X-DATERANGE:ID=\"1\""))
    }

    @Test(
        "Attributes of one's own have names in upper case that begin with X-",
        arguments: [
            ("X-A", true), ("X-A-0", true), ("X-", false), ("A", false), ("X-a", false), ("X-A B", false),
            ("X-A,Y=1", false), ("X-Ä", false),
        ])
    func attributeNames(name: String, isValid: Bool) {
        #expect(DateRange.Attribute(name: name, value: .text("")).isValid == isValid)
    }
}

@Suite struct DeltaTests {
    private static func playlist(segments: Int, skipsDateRanges: Bool = false) -> MediaPlaylist {
        var playlist = MediaPlaylist(
            targetDuration: 2, mediaSequence: 100,
            serverControl: .init(
                canBlockReload: true, canSkipUntil: PlaylistDuration(millis: 12_000),
                canSkipDateRanges: skipsDateRanges), partTarget: PlaylistDuration(millis: 200))
        playlist.segments = (0..<segments).map {
            .init(
                uri: "\($0)", duration: PlaylistDuration(millis: 2000),
                programDateTimeMillis: someMillis + Int64($0) * 2000, map: .init(uri: "i"))
        }
        return playlist
    }

    @Test("Segments that end more than the skip boundary from the end may be skipped")
    func boundary() {
        var playlist = Self.playlist(segments: 6)
        #expect(playlist.skippableSegments == 0)
        playlist = Self.playlist(segments: 7)
        // The first one ends exactly 12 s from the end, which is not earlier than the boundary.
        #expect(playlist.skippableSegments == 0)
        playlist = Self.playlist(segments: 10)
        #expect(playlist.skippableSegments == 3)
        playlist.openSegment = .init(parts: [.init(uri: "p", duration: PlaylistDuration(millis: 200))])
        #expect(playlist.skippableSegments == 4)
        playlist.serverControl?.canSkipUntil = nil
        #expect(playlist.skippableSegments == 0)
        #expect(Self.playlist(segments: 0).skippableSegments == 0)
    }

    @Test("A delta update keeps the header and the map, and says how much it leaves out")
    func update() {
        let playlist = Self.playlist(segments: 10)
        let lines = playlist.lines(delta: .init())
        #expect(
            lines.prefix(10) == [
                "#EXTM3U", "#EXT-X-VERSION:9", "#EXT-X-TARGETDURATION:2",
                "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.000", "#EXT-X-PART-INF:PART-TARGET=0.200",
                "#EXT-X-MEDIA-SEQUENCE:100", "#EXT-X-DISCONTINUITY-SEQUENCE:0", "#EXT-X-SKIP:SKIPPED-SEGMENTS=3",
                "#EXT-X-MAP:URI=\"i\"", "#EXT-X-PROGRAM-DATE-TIME:2026-11-22T00:20:36.000Z",
            ])
        #expect(lines.filter { !$0.hasPrefix("#") } == ["3", "4", "5", "6", "7", "8", "9", ""])
    }

    @Test("With nothing to skip, a delta update is the full playlist")
    func nothingToSkip() {
        let playlist = Self.playlist(segments: 5)
        #expect(playlist.text(delta: .init(removedDateRanges: ["x"])) == playlist.text())
    }

    @Test("Date ranges are skipped only by a server that says it can")
    func dateRanges() {
        for can in [true, false] {
            var playlist = Self.playlist(segments: 10, skipsDateRanges: can)
            playlist.dateRanges = [DateRange(id: "old", startMillis: 0), DateRange(id: "new", startMillis: 0)]
            let delta = MediaPlaylist.Delta(skippedDateRanges: ["old"], removedDateRanges: ["gone", "lost\t"])
            let text = playlist.text(delta: delta)
            #expect(text.contains("ID=\"old\"") == !can)
            #expect(text.contains("ID=\"new\""))
            #expect(text.contains("SKIPPED-SEGMENTS=3,RECENTLY-REMOVED-DATERANGES=\"gone\tlost \"\n") == can)
            #expect(playlist.text().contains("ID=\"old\""))
        }
    }
}
