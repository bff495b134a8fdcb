import Testing

@testable import Playlists

@Suite struct DASHManifestTests {
    private static func template(_ tag: String, timescale: Int) -> DASHManifest.SegmentTemplate {
        var timeline = DASHManifest.SegmentTimeline()
        for index in 0..<3 { timeline.append(start: UInt64(9000 + index * 2000), duration: 2000) }
        timeline.append(start: 15_000, duration: 1500)
        timeline.append(start: 20_000, duration: 1500)
        return DASHManifest.SegmentTemplate(
            timescale: timescale, initialization: "game/_\(tag)-7-init0.mp4", media: "game/_\(tag)-7-$Number$.m4s",
            startNumber: 430_000_000, presentationTimeOffset: 9000, timeline: timeline)
    }

    private static let periods = [
        DASHManifest.Period(
            id: "7-0", start: PlaylistDuration(millis: 86_400_500),
            adaptationSets: [
                .init(
                    id: 0, content: .video,
                    representations: [
                        .init(
                            id: "game-video", codecs: "avc1.64001f", bandwidth: 3_000_000,
                            format: .video(
                                width: 1280, height: 720, frameRate: .init(numerator: 30_000, denominator: 1001)),
                            segments: Self.template("video", timescale: 1000))
                    ]),
                .init(
                    id: 1, content: .audio, language: "en",
                    representations: [
                        .init(
                            id: "game-audio", codecs: "mp4a.40.2", bandwidth: 128_000,
                            format: .audio(sampleRate: 48_000, channels: 2),
                            segments: Self.template("audio", timescale: 48_000))
                    ]),
            ])
    ]

    @Test("A live manifest is this text")
    func live() {
        let manifest = DASHManifest(
            kind: .live(
                .init(
                    availabilityStartMillis: someMillis, publishMillis: someMillis + 1234,
                    minimumUpdatePeriod: PlaylistDuration(millis: 2000),
                    timeShiftBufferDepth: PlaylistDuration(millis: 12_000),
                    suggestedPresentationDelay: PlaylistDuration(millis: 6000),
                    utcTiming: .direct(millis: someMillis + 1500))),
            minimumBufferTime: PlaylistDuration(millis: 2000), maximumSegmentDuration: PlaylistDuration(millis: 2000),
            periods: Self.periods)
        func segments(_ tag: String, _ timescale: Int) -> String {
            """
            \t\t\t\t<SegmentTemplate timescale="\(timescale)" initialization="game/_\(tag)-7-init0.mp4" \
            media="game/_\(tag)-7-$Number$.m4s" startNumber="430000000" presentationTimeOffset="9000">
            \t\t\t\t\t<SegmentTimeline>
            \t\t\t\t\t\t<S t="9000" d="2000" r="2"/>
            \t\t\t\t\t\t<S d="1500"/>
            \t\t\t\t\t\t<S t="20000" d="1500"/>
            \t\t\t\t\t</SegmentTimeline>
            \t\t\t\t</SegmentTemplate>
            """
        }
        #expect(
            manifest.text == """
                <?xml version="1.0" encoding="UTF-8"?>
                <MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" \
                type="dynamic" availabilityStartTime="2026-11-22T00:20:30.000Z" \
                publishTime="2026-11-22T00:20:31.234Z" minimumUpdatePeriod="PT2.000S" \
                timeShiftBufferDepth="PT12.000S" suggestedPresentationDelay="PT6.000S" minBufferTime="PT2.000S" \
                maxSegmentDuration="PT2.000S">
                \t<Period id="7-0" start="PT86400.500S">
                \t\t<AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true" \
                startWithSAP="1">
                \t\t\t<Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
                \t\t\t<Representation id="game-video" codecs="avc1.64001f" bandwidth="3000000" width="1280" \
                height="720" frameRate="30000/1001">
                \(segments("video", 1000))
                \t\t\t</Representation>
                \t\t</AdaptationSet>
                \t\t<AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" lang="en" segmentAlignment="true" \
                startWithSAP="1">
                \t\t\t<Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
                \t\t\t<Representation id="game-audio" codecs="mp4a.40.2" bandwidth="128000" audioSamplingRate="48000">
                \t\t\t\t<AudioChannelConfiguration \
                schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="2"/>
                \(segments("audio", 48_000))
                \t\t\t</Representation>
                \t\t</AdaptationSet>
                \t</Period>
                \t<UTCTiming schemeIdUri="urn:mpeg:dash:utc:direct:2014" value="2026-11-22T00:20:31.500Z"/>
                </MPD>

                """)
    }

    @Test("A manifest on demand has a duration, and none of what is live")
    func onDemand() {
        var period = Self.periods[0]
        period.start = .zero
        period.duration = PlaylistDuration(millis: 11_000)
        period.adaptationSets.removeLast()
        period.adaptationSets[0].representations[0].format = .video(width: nil, height: nil, frameRate: nil)
        period.adaptationSets[0].representations[0].segments.presentationTimeOffset = 0
        let text = DASHManifest(
            kind: .onDemand(duration: PlaylistDuration(millis: 11_000)),
            minimumBufferTime: PlaylistDuration(millis: 2000), periods: [period]
        ).text
        #expect(text.contains(" type=\"static\" mediaPresentationDuration=\"PT11.000S\" minBufferTime=\"PT2.000S\">\n"))
        #expect(text.contains("<Period id=\"7-0\" start=\"PT0.000S\" duration=\"PT11.000S\">"))
        #expect(text.contains("bandwidth=\"3000000\">\n"))
        for word in ["availability", "publishTime", "UTCTiming", "minimumUpdate", "presentationTimeOffset"] {
            #expect(!text.contains(word), "\(word)")
        }
    }

    @Test("Frame rates are fractions where they have to be, and left out where they make no sense")
    func frameRates() {
        for (rate, wanted) in [
            (DASHManifest.Representation.FrameRate(numerator: 25), " frameRate=\"25\""),
            (.init(numerator: 0, denominator: 1), ""), (.init(numerator: 25, denominator: 0), ""),
        ] {
            var period = Self.periods[0]
            period.adaptationSets[0].representations[0].format = .video(width: 2, height: 2, frameRate: rate)
            let manifest = DASHManifest(
                kind: .onDemand(duration: .zero), minimumBufferTime: .zero, periods: [period])
            #expect(manifest.text.contains(" height=\"2\"\(wanted)>"))
        }
    }

    @Test("Text is escaped, and so is the address of a clock")
    func escaping() {
        let live = DASHManifest.Live(
            availabilityStartMillis: 0, publishMillis: 0, minimumUpdatePeriod: .zero,
            utcTiming: .iso(url: "https://a/?x=1&y=\"<>\n'"))
        var manifest = DASHManifest(kind: .live(live), minimumBufferTime: .zero, baseURL: "http://a/<&>/é")
        #expect(
            manifest.text.contains(
                "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" "
                    + "value=\"https://a/?x=1&amp;y=&quot;&lt;&gt; '\"/>"))
        #expect(manifest.text.contains("\t<BaseURL>http://a/&lt;&amp;&gt;/é</BaseURL>\n"))
        manifest.kind = .live(
            .init(availabilityStartMillis: 0, publishMillis: 0, minimumUpdatePeriod: .zero, utcTiming: .head(url: "u")))
        #expect(manifest.text.contains("<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-head:2014\" value=\"u\"/>"))
    }

    @Test("A timeline is kept as runs, and a gap or an overlap begins one with its own start")
    func timeline() {
        var timeline = DASHManifest.SegmentTimeline()
        #expect(timeline.end == nil)
        for start in [0, 10, 20] as [UInt64] { timeline.append(start: start, duration: 10) }
        timeline.append(start: 31, duration: 10)
        timeline.append(start: 40, duration: 10)
        timeline.append(start: 50, duration: 11)
        #expect(timeline.end == 61)
        #expect(timeline.runs.map(\.start) == [0, 31, 40, 50])
        #expect(timeline.runs.map(\.repeats) == [2, 0, 0, 0])
        #expect(timeline.runs.map(\.hasOwnStart) == [true, true, true, false])
    }
}
