package import NIOCore

extension MultivariantPlaylist {
    /// Appends the playlist as UTF-8, each line ended by LF.
    package func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("#EXTM3U\n")
        // Groups of renditions. Spec: RFC 8216 §7.
        if !self.audioRenditions.isEmpty { buffer.writeLiteral("#EXT-X-VERSION:4\n") }
        if self.hasIndependentSegments { buffer.writeLiteral("#EXT-X-INDEPENDENT-SEGMENTS\n") }
        for rendition in self.audioRenditions { rendition.write(into: &buffer) }
        for variant in self.variants { variant.write(into: &buffer) }
    }
}

extension MultivariantPlaylist.AudioRendition {
    func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=")
        buffer.writeQuoted(self.group)
        buffer.writeLiteral(",NAME=")
        buffer.writeQuoted(self.name)
        if let language = self.language {
            buffer.writeLiteral(",LANGUAGE=")
            buffer.writeQuoted(language)
        }
        if self.isDefault { buffer.writeLiteral(",DEFAULT=YES") }
        if self.isDefault || self.isAutoselect { buffer.writeLiteral(",AUTOSELECT=YES") }
        if let channels = self.channels {
            buffer.writeLiteral(",CHANNELS=\"")
            buffer.writeDecimal(channels)
            buffer.writeByte(UInt8(ascii: "\""))
        }
        if let uri = self.uri {
            buffer.writeLiteral(",URI=\"")
            buffer.writeURI(uri)
            buffer.writeByte(UInt8(ascii: "\""))
        }
        buffer.writeNewline()
    }
}

extension MultivariantPlaylist.Variant {
    func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("#EXT-X-STREAM-INF:BANDWIDTH=")
        buffer.writeDecimal(self.bandwidth)
        if let averageBandwidth = self.averageBandwidth {
            buffer.writeLiteral(",AVERAGE-BANDWIDTH=")
            buffer.writeDecimal(averageBandwidth)
        }
        if !self.codecs.isEmpty {
            buffer.writeLiteral(",CODECS=\"")
            for (index, codec) in self.codecs.enumerated() {
                if index > 0 { buffer.writeByte(UInt8(ascii: ",")) }
                buffer.writeUnquoted(codec)
            }
            buffer.writeByte(UInt8(ascii: "\""))
        }
        if let resolution = self.resolution {
            buffer.writeLiteral(",RESOLUTION=")
            buffer.writeDecimal(resolution.width)
            buffer.writeByte(UInt8(ascii: "x"))
            buffer.writeDecimal(resolution.height)
        }
        if let frameRateMillis = self.frameRateMillis {
            buffer.writeLiteral(",FRAME-RATE=")
            buffer.writeSeconds(PlaylistDuration(millis: Int64(frameRateMillis)))
        }
        switch self.videoRange {
        case nil: break
        case .sdr: buffer.writeLiteral(",VIDEO-RANGE=SDR")
        case .hlg: buffer.writeLiteral(",VIDEO-RANGE=HLG")
        case .pq: buffer.writeLiteral(",VIDEO-RANGE=PQ")
        }
        if let audioGroup = self.audioGroup {
            buffer.writeLiteral(",AUDIO=")
            buffer.writeQuoted(audioGroup)
        }
        buffer.writeNewline()
        buffer.writeURI(self.uri)
        buffer.writeNewline()
    }
}
