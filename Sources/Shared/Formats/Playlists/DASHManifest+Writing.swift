package import NIOCore

extension DASHManifest {
    /// Appends the manifest as UTF-8 XML, indented by tabs. What XML cannot hold (controls) is replaced by spaces.
    ///
    /// The profile is *live*, which covers templates of complete manifests, too. Spec: ISO/IEC 23009-1 §8.4.
    package func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"")
        buffer.writeLiteral(" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"")
        switch self.kind {
        case .live(let live): live.writeAttributes(into: &buffer)
        case .onDemand(let duration):
            buffer.writeLiteral(" type=\"static\"")
            buffer.writeAttribute(" mediaPresentationDuration=\"", duration)
        }
        buffer.writeAttribute(" minBufferTime=\"", self.minimumBufferTime)
        if let duration = self.maximumSegmentDuration {
            buffer.writeAttribute(" maxSegmentDuration=\"", duration)
        }
        buffer.writeLiteral(">\n")
        if let baseURL = self.baseURL {
            buffer.writeLiteral("\t<BaseURL>")
            buffer.writeXML(baseURL)
            buffer.writeLiteral("</BaseURL>\n")
        }
        for period in self.periods { period.write(into: &buffer) }
        if case .live(let live) = self.kind { live.utcTiming?.write(into: &buffer) }
        buffer.writeLiteral("</MPD>\n")
    }
}

extension DASHManifest.Live {
    fileprivate func writeAttributes(into buffer: inout ByteBuffer) {
        buffer.writeLiteral(" type=\"dynamic\" availabilityStartTime=\"")
        buffer.writeDateTime(millis: self.availabilityStartMillis)
        buffer.writeLiteral("\" publishTime=\"")
        buffer.writeDateTime(millis: self.publishMillis)
        buffer.writeByte(UInt8(ascii: "\""))
        buffer.writeAttribute(" minimumUpdatePeriod=\"", self.minimumUpdatePeriod)
        if let depth = self.timeShiftBufferDepth { buffer.writeAttribute(" timeShiftBufferDepth=\"", depth) }
        if let delay = self.suggestedPresentationDelay {
            buffer.writeAttribute(" suggestedPresentationDelay=\"", delay)
        }
    }
}

extension DASHManifest.UTCTiming {
    fileprivate func write(into buffer: inout ByteBuffer) {
        switch self {
        case .direct(let millis):
            buffer.writeLiteral("\t<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"")
            buffer.writeDateTime(millis: millis)
        case .iso(let url):
            buffer.writeLiteral("\t<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"")
            buffer.writeXML(url)
        case .head(let url):
            buffer.writeLiteral("\t<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-head:2014\" value=\"")
            buffer.writeXML(url)
        }
        buffer.writeLiteral("\"/>\n")
    }
}

extension DASHManifest.Period {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("\t<Period")
        buffer.writeAttribute(" id=\"", self.id)
        buffer.writeAttribute(" start=\"", self.start)
        if let duration = self.duration { buffer.writeAttribute(" duration=\"", duration) }
        buffer.writeLiteral(">\n")
        for set in self.adaptationSets { set.write(into: &buffer) }
        buffer.writeLiteral("\t</Period>\n")
    }
}

extension DASHManifest.AdaptationSet {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("\t\t<AdaptationSet")
        buffer.writeAttribute(" id=\"", self.id)
        switch self.content {
        case .video: buffer.writeLiteral(" contentType=\"video\" mimeType=\"video/mp4\"")
        case .audio: buffer.writeLiteral(" contentType=\"audio\" mimeType=\"audio/mp4\"")
        }
        if let language = self.language { buffer.writeAttribute(" lang=\"", language) }
        buffer.writeLiteral(" segmentAlignment=\"true\" startWithSAP=\"1\">\n")
        buffer.writeLiteral("\t\t\t<Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"main\"/>\n")
        for representation in self.representations { representation.write(into: &buffer) }
        buffer.writeLiteral("\t\t</AdaptationSet>\n")
    }
}

extension DASHManifest.Representation {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("\t\t\t<Representation")
        buffer.writeAttribute(" id=\"", self.id)
        buffer.writeAttribute(" codecs=\"", self.codecs)
        buffer.writeAttribute(" bandwidth=\"", self.bandwidth)
        switch self.format {
        case .video(let width, let height, let frameRate):
            if let width { buffer.writeAttribute(" width=\"", width) }
            if let height { buffer.writeAttribute(" height=\"", height) }
            if let frameRate, frameRate.numerator > 0, frameRate.denominator > 0 {
                buffer.writeLiteral(" frameRate=\"")
                buffer.writeDecimal(frameRate.numerator)
                if frameRate.denominator > 1 {
                    buffer.writeByte(UInt8(ascii: "/"))
                    buffer.writeDecimal(frameRate.denominator)
                }
                buffer.writeByte(UInt8(ascii: "\""))
            }
            buffer.writeLiteral(">\n")
        case .audio(let sampleRate, let channels):
            if let sampleRate { buffer.writeAttribute(" audioSamplingRate=\"", sampleRate) }
            buffer.writeLiteral(">\n")
            if let channels {
                buffer.writeLiteral("\t\t\t\t<AudioChannelConfiguration schemeIdUri=\"")
                buffer.writeLiteral("urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"")
                buffer.writeDecimal(channels)
                buffer.writeLiteral("\"/>\n")
            }
        }
        self.segments.write(into: &buffer)
        buffer.writeLiteral("\t\t\t</Representation>\n")
    }
}

extension DASHManifest.SegmentTemplate {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.reserveCapacity(minimumWritableBytes: 256 + self.timeline.runs.count * 40)
        buffer.writeLiteral("\t\t\t\t<SegmentTemplate")
        buffer.writeAttribute(" timescale=\"", self.timescale)
        buffer.writeAttribute(" initialization=\"", self.initialization)
        buffer.writeAttribute(" media=\"", self.media)
        buffer.writeAttribute(" startNumber=\"", self.startNumber)
        if self.presentationTimeOffset > 0 {
            buffer.writeAttribute(" presentationTimeOffset=\"", self.presentationTimeOffset)
        }
        buffer.writeLiteral(">\n\t\t\t\t\t<SegmentTimeline>\n")
        for run in self.timeline.runs {
            buffer.writeLiteral("\t\t\t\t\t\t<S")
            if run.hasOwnStart { buffer.writeAttribute(" t=\"", run.start) }
            buffer.writeAttribute(" d=\"", run.duration)
            if run.repeats > 0 { buffer.writeAttribute(" r=\"", run.repeats) }
            buffer.writeLiteral("/>\n")
        }
        buffer.writeLiteral("\t\t\t\t\t</SegmentTimeline>\n\t\t\t\t</SegmentTemplate>\n")
    }
}

/// Attributes of XML: `opening` is a space, the name, `=` and the opening quotation mark.
extension ByteBuffer {
    fileprivate mutating func writeAttribute(_ opening: StaticString, _ text: String) {
        self.writeLiteral(opening)
        self.writeXML(text)
        self.writeByte(UInt8(ascii: "\""))
    }

    fileprivate mutating func writeAttribute(_ opening: StaticString, _ number: UInt64) {
        self.writeLiteral(opening)
        self.writeDecimal(number)
        self.writeByte(UInt8(ascii: "\""))
    }

    fileprivate mutating func writeAttribute(_ opening: StaticString, _ number: Int) {
        self.writeAttribute(opening, UInt64(clamping: number))
    }

    /// As `xs:duration` in seconds, such as `PT2.5S`.
    fileprivate mutating func writeAttribute(_ opening: StaticString, _ duration: PlaylistDuration) {
        self.writeLiteral(opening)
        self.writeLiteral("PT")
        self.writeSeconds(duration)
        self.writeLiteral("S\"")
    }

    /// Text of an element or an attribute. Spec: XML 1.0 §2.2, §2.4.
    fileprivate mutating func writeXML(_ text: String) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "&"): self.writeLiteral("&amp;")
            case UInt8(ascii: "<"): self.writeLiteral("&lt;")
            case UInt8(ascii: ">"): self.writeLiteral("&gt;")
            case UInt8(ascii: "\""): self.writeLiteral("&quot;")
            case 0..<0x20: self.writeByte(UInt8(ascii: " "))
            default: self.writeByte(byte)
            }
        }
    }
}
