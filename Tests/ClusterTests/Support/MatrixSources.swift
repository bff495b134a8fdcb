import Foundation

/// The files that the matrix test publishes: one picture, with a sound of each kind.
struct MatrixSources: Sendable {
    /// Long enough for the slowest player to come, and to get three seconds.
    static let seconds = 10

    let video: MatrixVideo
    /// Half of the tests have the one law, half the other.
    var law: String { self.video == .h264 ? "pcma" : "pcmu" }
    private let sandbox: Sandbox

    init(_ sandbox: Sandbox, _ video: MatrixVideo) async throws {
        self.sandbox = sandbox
        self.video = video
        try await self.make()
    }

    /// Matroska, which holds all codecs. Its times are whole milliseconds.
    func file(_ audio: MatrixAudio) -> URL { self.sandbox.file("source-\(self.name(audio)).mkv") }

    /// As the API, and FFmpeg without `pcm_`, name it.
    func name(_ audio: MatrixAudio) -> String { audio == .g711 ? self.law : audio.rawValue.lowercased() }

    /// A tone with a pause of 100 ms in each second, and a little noise, so that no two packets are the same.
    private static let tone = "0.3*sin(2*PI*440*t)*gt(mod(t\\,1)\\,0.1)+0.03*random(0)"

    /// No B-frames, which WebRTC does not have; a keyframe each second.
    private var videoOptions: [String] {
        switch self.video {
        case .h264:
            ["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "baseline", "-bf", "0", "-sc_threshold", "0"]
                + ["-g", "25", "-keyint_min", "25", "-b:v", "300k"]
        case .hevc:
            [
                "-c:v", "libx265", "-preset", "ultrafast", "-b:v", "300k", "-x265-params",
                "log-level=error:keyint=25:min-keyint=25:scenecut=0:bframes=0:open-gop=0",
            ]
        }
    }

    private func audioOptions(_ audio: MatrixAudio) -> [String] {
        switch audio {
        case .aac: ["-c:a", "aac", "-b:a", "64k", "-ac", "2"]
        case .opus: ["-c:a", "libopus", "-b:a", "64k", "-ac", "2"]
        case .mp3: ["-c:a", "libmp3lame", "-b:a", "64k", "-ac", "2"]
        case .g711: ["-c:a", self.law == "pcma" ? "pcm_alaw" : "pcm_mulaw"]
        }
    }

    private func make() async throws {
        let ffmpeg = try Tools.newFFmpeg
        let picture = self.sandbox.file("picture.mkv")
        let length = ["-t", "\(Self.seconds)"]
        var arguments =
            Media.quiet + [
                "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i",
                "aevalsrc=\(Self.tone):s=48000",
                "-f", "lavfi", "-i", "aevalsrc=\(Self.tone):s=8000,asetnsamples=n=160",
            ] + length + ["-map", "0:v", "-pix_fmt", "yuv420p"] + self.videoOptions + [picture.path]
        for audio in MatrixAudio.allCases {
            arguments += length + ["-map", audio == .g711 ? "2:a" : "1:a"] + self.audioOptions(audio)
            arguments += [self.sandbox.file("\(audio.rawValue).mka").path]
        }
        _ = try await self.sandbox.run(ffmpeg, arguments, within: .seconds(60))
        for audio in MatrixAudio.allCases {
            _ = try await self.sandbox.run(
                ffmpeg,
                Media.quiet + [
                    "-i", picture.path, "-i", self.sandbox.file("\(audio.rawValue).mka").path, "-map", "0:v", "-map",
                    "1:a",
                    "-c", "copy", self.file(audio).path,
                ])
        }
    }
}
