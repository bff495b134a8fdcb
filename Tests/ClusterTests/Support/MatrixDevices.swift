import Foundation

/// GB/T 28181: one device with one channel for each stream. Devices are invited as soon as they are there.
extension MatrixRun {
    private static func number(_ audio: MatrixAudio) -> Int { 10 + (MatrixAudio.allCases.firstIndex(of: audio) ?? 0) }

    static func channelID(_ audio: MatrixAudio) -> String { "340200000013200001\(self.number(audio))" }

    static func deviceSettings(_ ports: [Int]) -> [String: String] {
        [
            "gb28181.enabled": "true", "gb28181.listen": "127.0.0.1:\(ports[0])",
            "gb28181.media_listen": "127.0.0.1:\(ports[1])", "gb28181.password": "secret", "gb28181.invite": "always",
            "gb28181.stream_name": "[channel]",
            // What a device has sent, it does not send again.
            "gb28181.reinvite_delay": "2min",
        ]
    }

    func publishByDevices(_ sounds: [MatrixAudio]) async throws -> [MatrixPublisher] {
        var settings: [SimulatedDevice.Settings] = []
        for audio in sounds { settings.append(try await self.device(audio)) }
        return try zip(sounds, settings).map {
            .device(try SimulatedDevice(self.sandbox, $1, name: "device-\($0)"))
        }
    }

    /// A device that sends the source of `audio`, in a program stream whose map says `type` of its sound.
    func device(_ audio: MatrixAudio, type: Int? = nil) async throws -> SimulatedDevice.Settings {
        let port = self.sipAddress?.split(separator: ":").last.flatMap { Int($0) }
        var settings = SimulatedDevice.Settings(port: port ?? 0, media: self.sandbox.file("device-\(audio).ts").path)
        settings.id = "340200000011100001\(Self.number(audio))"
        settings.channels = [[Self.channelID(audio), "1"]]
        settings.codec = self.sources.video.name
        settings.loop = false
        var arguments = Media.quiet + ["-i", self.sources.file(audio).path, "-map", "0:v", "-c", "copy"]
        switch audio {
        case .g711:
            // A-law is what the device takes for granted.
            let isALaw = self.sources.law == "pcma"
            let raw = self.sandbox.file("device.\(self.sources.law)").path
            (settings.alaw, settings.audioType) = (raw, isALaw ? nil : 0x91)
            arguments += [
                "-f", "mpegts", settings.media, "-map", "0:a", "-c", "copy", "-f", isALaw ? "alaw" : "mulaw", raw,
            ]
        case .opus:
            // Whatever the map's type says it is.
            let raw = self.sandbox.file("device.opus").path
            settings.alaw = raw
            arguments += ["-f", "mpegts", settings.media, "-map", "0:a", "-c", "copy", "-f", "data", raw]
        case .aac, .mp3:
            settings.audioType = audio == .mp3 ? 0x03 : nil
            arguments += ["-map", "0:a", "-f", "mpegts", settings.media]
        }
        if let type { settings.audioType = type }
        _ = try await self.sandbox.run(try Tools.ffmpeg, arguments)
        return settings
    }
}
