import AMF
import FLV
import Logging
import Media
import NIOCore
import NodeConfiguration
import Placement
import RTMP
import Streaming
import Transcoding

/// The settings of the modules, made from the configuration.
extension StreamSettings {
    var live: LiveStreamSettings {
        LiveStreamSettings(
            flush: self.latency.flush, gopCacheBytes: self.gopCache ? self.gopCacheMaximumBytes : 0,
            publish: PublishSettings(
                policy: self.publish.policy.slot, grace: self.publish.grace, silentAfter: self.publish.silentAfter),
            slowViewer: SlowViewerPolicy(
                maximumBytes: self.play.slowViewerBytes, maximumAge: self.play.slowViewerAge,
                skipsBeforeClose: self.play.skipsBeforeClose, skipWindow: self.play.skipWindow),
            idleTimeout: self.idleTimeout,
            timeline: TimelineConfiguration(forwardTolerance: self.timeline.jumpThreshold))
    }

    var hevcForm: FLVHEVCForm {
        switch self.flv.hevc {
        case .asPublished: .asPublished
        case .enhanced: .enhanced
        case .legacy: .legacy
        }
    }
}

extension StreamSettings.Audio {
    var transcoding: AudioTranscodingSettings {
        AudioTranscodingSettings(aacBitRate: self.aacBitRate, opusBitRate: self.opusBitRate)
    }
}

extension StreamSettings.Audio.Form {
    var form: AudioForm {
        switch self {
        case .source: .source
        case .aac: .aac
        }
    }
}

extension StreamSettings.Latency {
    fileprivate var flush: FlushPolicy {
        switch self {
        case .realtime: .realtime
        case .low: .low
        case .balanced: .balanced
        }
    }
}

extension StreamSettings.Publish.Policy {
    fileprivate var slot: Streaming.PublishPolicy {
        switch self {
        case .reject: .reject
        case .takeover: .takeover
        case .grace: .grace
        }
    }

    var claim: ClaimPolicy {
        switch self {
        case .reject: .reject
        case .takeover: .takeover
        case .grace: .grace
        }
    }
}

extension StreamSettings.Play.TCPNoDelay {
    var option: Bool? {
        switch self {
        case .auto: nil
        case .on: true
        case .off: false
        }
    }
}

extension RTMPSettings {
    var session: RTMPSessionConfiguration {
        var session = RTMPSessionConfiguration()
        session.chunkSize = self.chunkSize
        session.handshakeTimeout = self.handshakeTimeout
        session.commandTimeout = self.commandTimeout
        session.firstMediaTimeout = self.publishFirstMediaTimeout
        session.mediaTimeout = self.publishIdleTimeout
        session.windowAcknowledgementSize = UInt32(clamping: self.windowAckBytes)
        session.chunkLimits.maximumMessageSize = self.maximumMessageBytes
        session.chunkLimits.maximumChunkSize = self.maximumChunkBytes
        session.chunkLimits.maximumChunkStreams = self.maximumChunkStreams
        session.chunkLimits.maximumPartialBytes = self.maximumPartialBytes
        session.maximumHeldBytes = self.maximumHeldBytes
        session.amfLimits.maximumDepth = self.amfMaximumDepth
        session.amfLimits.maximumValues = self.amfMaximumValues
        session.serverVersion = WeirVersion.current
        return session
    }

    func client(mediaTimeout: TimeAmount) -> RTMPClientConfiguration {
        var client = RTMPClientConfiguration()
        client.chunkLimits = self.session.chunkLimits
        client.amfLimits = self.session.amfLimits
        client.chunkSize = self.chunkSize
        client.mediaTimeout = mediaTimeout
        return client
    }
}
