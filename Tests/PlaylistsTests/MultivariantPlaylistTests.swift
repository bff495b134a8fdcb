import Testing

@testable import Playlists

@Suite struct MultivariantPlaylistTests {
    @Test("Variants name their audio group")
    func variants() {
        let playlist = MultivariantPlaylist(
            variants: [
                .init(
                    uri: "game_1080/_video.m3u8", bandwidth: 6_200_000, averageBandwidth: 5_000_000,
                    codecs: ["avc1.640028", "mp4a.40.2"], resolution: .init(width: 1920, height: 1080),
                    frameRateMillis: 59_940, videoRange: .sdr, audioGroup: "audio"),
                .init(
                    uri: "game_720/_video.m3u8", bandwidth: 3_000_000, codecs: ["hvc1.1.6.L93.B0"],
                    videoRange: .hlg),
            ],
            audioRenditions: [
                .init(
                    group: "audio", name: "Stereo", uri: "game_1080/_audio.m3u8", language: "en", channels: 2,
                    isDefault: true, isAutoselect: false),
                .init(group: "audio", name: "Other \"one\"", uri: nil, isAutoselect: false),
                .init(group: "audio", name: "Third", uri: "t.m3u8"),
            ], hasIndependentSegments: true)
        #expect(
            playlist.text == """
                #EXTM3U
                #EXT-X-VERSION:4
                #EXT-X-INDEPENDENT-SEGMENTS
                #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Stereo",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,\
                CHANNELS="2",URI="game_1080/_audio.m3u8"
                #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Other 'one'"
                #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Third",AUTOSELECT=YES,URI="t.m3u8"
                #EXT-X-STREAM-INF:BANDWIDTH=6200000,AVERAGE-BANDWIDTH=5000000,CODECS="avc1.640028,mp4a.40.2",\
                RESOLUTION=1920x1080,FRAME-RATE=59.940,VIDEO-RANGE=SDR,AUDIO="audio"
                game_1080/_video.m3u8
                #EXT-X-STREAM-INF:BANDWIDTH=3000000,CODECS="hvc1.1.6.L93.B0",VIDEO-RANGE=HLG
                game_720/_video.m3u8

                """)
    }

    @Test("A single variant needs no version")
    func single() {
        let playlist = MultivariantPlaylist(variants: [.init(uri: "_main.m3u8", bandwidth: 1, videoRange: .pq)])
        #expect(playlist.text == "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,VIDEO-RANGE=PQ\n_main.m3u8\n")
    }
}
