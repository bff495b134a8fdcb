package import NIOCore

extension MediaPlaylist {
    /// What a delta update leaves out. Spec: RFC 8216bis §4.4.5.2, §6.2.5.1.
    package struct Delta: Sendable, Hashable {
        /// Date ranges that are left out, by identifier, because the player has had them for longer than the skip
        /// boundary. Only for players that asked for it (`_HLS_skip=v2`) of a server that offers it.
        package var skippedDateRanges: Set<String>
        /// Date ranges that left the playlist within the skip boundary.
        package var removedDateRanges: [String]

        package init(skippedDateRanges: Set<String> = [], removedDateRanges: [String] = []) {
            self.skippedDateRanges = skippedDateRanges
            self.removedDateRanges = removedDateRanges
        }
    }

    /// The version of the format that the tags need; what a server offers counts, so that it stays the same from update
    /// to update. Spec: RFC 8216 §7, RFC 8216bis §8.
    package var version: Int {
        if let control = self.serverControl, control.canSkipUntil != nil { return control.canSkipDateRanges ? 10 : 9 }
        var version = 3
        for segment in self.segments {
            if segment.map != nil { return 6 }
            if segment.byteRange != nil { version = 4 }
        }
        return self.openSegment?.map == nil ? version : 6
    }

    /// How many of the first segments a delta update may leave out: those that end further from the end of the playlist
    /// than the skip boundary. 0 when the server offers no delta updates.
    package var skippableSegments: Int {
        guard let boundary = self.serverControl?.canSkipUntil else { return 0 }
        var distance = PlaylistDuration.zero
        for part in self.openSegment?.parts ?? [] { distance += part.duration }
        var index = self.segments.count
        while index > 0, distance <= boundary {
            index -= 1
            distance += self.segments[index].duration
        }
        return index
    }

    /// Appends the playlist as UTF-8, each line ended by LF. With `delta` it is a delta update if there is something to
    /// skip, else a full playlist, which is always a right answer.
    ///
    /// Cost: linear in what is listed; allocates nothing but the buffer.
    package func write(into buffer: inout ByteBuffer, delta: Delta? = nil) {
        let skipped = delta == nil ? 0 : self.skippableSegments
        buffer.reserveCapacity(minimumWritableBytes: self.estimatedLength(skipping: skipped))
        self.writeHeader(into: &buffer)
        if skipped > 0, let delta { self.writeSkip(of: skipped, delta, into: &buffer) }
        if self.segments.contains(where: { $0.programDateTimeMillis != nil }) {
            let leavesOut = skipped > 0 && self.serverControl?.canSkipDateRanges == true
            for range in self.dateRanges where !leavesOut || delta?.skippedDateRanges.contains(range.id) != true {
                range.write(into: &buffer)
            }
        }
        var state = AppliedTags()
        for segment in self.segments.dropFirst(skipped) { self.write(segment, after: &state, into: &buffer) }
        if self.isEnded {
            buffer.writeLiteral("#EXT-X-ENDLIST\n")
        } else {
            self.writeEdge(after: &state, into: &buffer)
        }
    }

    private func estimatedLength(skipping skipped: Int) -> Int {
        var parts = self.openSegment?.parts.count ?? 0
        for segment in self.segments.suffix(32) { parts += segment.parts.count }
        return 512 + (self.segments.count - skipped) * 128 + parts * 96 + self.dateRanges.count * 128
    }

    private func writeHeader(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("#EXTM3U\n#EXT-X-VERSION:")
        buffer.writeDecimal(self.version)
        if self.hasIndependentSegments { buffer.writeLiteral("\n#EXT-X-INDEPENDENT-SEGMENTS") }
        buffer.writeLiteral("\n#EXT-X-TARGETDURATION:")
        buffer.writeDecimal(self.targetDuration)
        switch self.kind {
        case .live: break
        case .event: buffer.writeLiteral("\n#EXT-X-PLAYLIST-TYPE:EVENT")
        case .onDemand: buffer.writeLiteral("\n#EXT-X-PLAYLIST-TYPE:VOD")
        }
        buffer.writeNewline()
        self.serverControl?.write(into: &buffer)
        if let partTarget = self.partTarget {
            buffer.writeLiteral("#EXT-X-PART-INF:PART-TARGET=")
            buffer.writeSeconds(partTarget)
            buffer.writeNewline()
        }
        buffer.writeLiteral("#EXT-X-MEDIA-SEQUENCE:")
        buffer.writeDecimal(self.mediaSequence)
        buffer.writeNewline()
        if self.kind == .live || self.discontinuitySequence > 0 {
            buffer.writeLiteral("#EXT-X-DISCONTINUITY-SEQUENCE:")
            buffer.writeDecimal(self.discontinuitySequence)
            buffer.writeNewline()
        }
        if let start = self.start {
            buffer.writeLiteral("#EXT-X-START:TIME-OFFSET=")
            if start.countsFromEnd { buffer.writeByte(UInt8(ascii: "-")) }
            buffer.writeSeconds(start.offset)
            if start.isPrecise { buffer.writeLiteral(",PRECISE=YES") }
            buffer.writeNewline()
        }
    }

    private func writeSkip(of count: Int, _ delta: Delta, into buffer: inout ByteBuffer) {
        buffer.writeLiteral("#EXT-X-SKIP:SKIPPED-SEGMENTS=")
        buffer.writeDecimal(count)
        if !delta.removedDateRanges.isEmpty, self.serverControl?.canSkipDateRanges == true {
            // A tab separates the identifiers, so the list is quoted by hand.
            buffer.writeLiteral(",RECENTLY-REMOVED-DATERANGES=\"")
            for (index, id) in delta.removedDateRanges.enumerated() {
                if index > 0 { buffer.writeByte(UInt8(ascii: "\t")) }
                buffer.writeUnquoted(id)
            }
            buffer.writeByte(UInt8(ascii: "\""))
        }
        buffer.writeNewline()
    }

    /// What tags before a segment said of it and of all that follow.
    private struct AppliedTags {
        var map: Map?
        var key: Key?
    }

    private func write(_ segment: Segment, after state: inout AppliedTags, into buffer: inout ByteBuffer) {
        if segment.isDiscontinuity { buffer.writeLiteral("#EXT-X-DISCONTINUITY\n") }
        Self.write(map: segment.map, key: segment.key, after: &state, into: &buffer)
        if let millis = segment.programDateTimeMillis { Self.write(programDateTime: millis, into: &buffer) }
        if segment.isGap { buffer.writeLiteral("#EXT-X-GAP\n") }
        if self.partTarget != nil {
            for part in segment.parts { part.write(into: &buffer) }
        }
        buffer.writeLiteral("#EXTINF:")
        buffer.writeSeconds(segment.duration)
        buffer.writeLiteral(",\n")
        if let range = segment.byteRange {
            buffer.writeLiteral("#EXT-X-BYTERANGE:")
            buffer.writeByteRange(range)
            buffer.writeNewline()
        }
        buffer.writeURI(segment.uri)
        buffer.writeNewline()
    }

    /// The open segment, the hints and the reports: what only a playlist that goes on has.
    private func writeEdge(after state: inout AppliedTags, into buffer: inout ByteBuffer) {
        if self.partTarget != nil {
            // Tags of a segment must be followed by one: without parts they wait until it is complete.
            if let open = self.openSegment, !open.parts.isEmpty {
                if open.isDiscontinuity { buffer.writeLiteral("#EXT-X-DISCONTINUITY\n") }
                Self.write(map: open.map, key: open.key, after: &state, into: &buffer)
                if let millis = open.programDateTimeMillis { Self.write(programDateTime: millis, into: &buffer) }
                for part in open.parts { part.write(into: &buffer) }
            }
            for hint in self.preloadHints { hint.write(into: &buffer) }
        }
        for report in self.renditionReports { report.write(into: &buffer) }
    }

    private static func write(
        map: Map?, key: Key?, after state: inout AppliedTags, into buffer: inout ByteBuffer
    ) {
        let mapChanges = map != state.map
        // A key applies to the initialization sections after it, too. Spec: RFC 8216 §4.3.2.4.
        if mapChanges, let map, !map.isEncrypted, state.key != nil {
            buffer.writeLiteral("#EXT-X-KEY:METHOD=NONE\n")
            state.key = nil
        }
        let mapIsFirst = map?.isEncrypted == false
        if mapChanges, mapIsFirst, let map { map.write(into: &buffer) }
        if key != state.key {
            if let key { key.write(into: &buffer) } else { buffer.writeLiteral("#EXT-X-KEY:METHOD=NONE\n") }
        }
        if mapChanges, !mapIsFirst, let map { map.write(into: &buffer) }
        // Nothing takes a map back, but segments without one follow only in another format, after a discontinuity.
        state = AppliedTags(map: map ?? state.map, key: key)
    }

    private static func write(programDateTime millis: Int64, into buffer: inout ByteBuffer) {
        buffer.writeLiteral("#EXT-X-PROGRAM-DATE-TIME:")
        buffer.writeDateTime(millis: millis)
        buffer.writeNewline()
    }
}

extension MediaPlaylist.ServerControl {
    func write(into buffer: inout ByteBuffer) {
        var attributes = AttributeList()
        if self.canBlockReload {
            attributes.begin("CAN-BLOCK-RELOAD=YES", of: "#EXT-X-SERVER-CONTROL:", in: &buffer)
        }
        if let partHoldBack = self.partHoldBack {
            attributes.begin("PART-HOLD-BACK=", of: "#EXT-X-SERVER-CONTROL:", in: &buffer)
            buffer.writeSeconds(partHoldBack)
        }
        if let holdBack = self.holdBack {
            attributes.begin("HOLD-BACK=", of: "#EXT-X-SERVER-CONTROL:", in: &buffer)
            buffer.writeSeconds(holdBack)
        }
        if let canSkipUntil = self.canSkipUntil {
            attributes.begin("CAN-SKIP-UNTIL=", of: "#EXT-X-SERVER-CONTROL:", in: &buffer)
            buffer.writeSeconds(canSkipUntil)
            if self.canSkipDateRanges { buffer.writeLiteral(",CAN-SKIP-DATERANGES=YES") }
        }
        if !attributes.isEmpty { buffer.writeNewline() }
    }
}

/// The commas of an attribute list of which any attribute may be missing.
private struct AttributeList {
    var isEmpty = true

    /// Writes the tag before the first attribute, a comma before the others.
    mutating func begin(_ attribute: StaticString, of tag: StaticString, in buffer: inout ByteBuffer) {
        if self.isEmpty { buffer.writeLiteral(tag) } else { buffer.writeByte(UInt8(ascii: ",")) }
        buffer.writeLiteral(attribute)
        self.isEmpty = false
    }
}

extension MediaPlaylist.Map {
    func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("#EXT-X-MAP:URI=\"")
        buffer.writeURI(self.uri)
        buffer.writeByte(UInt8(ascii: "\""))
        if let range = self.byteRange {
            buffer.writeLiteral(",BYTERANGE=\"")
            buffer.writeByteRange(range)
            buffer.writeByte(UInt8(ascii: "\""))
        }
        buffer.writeNewline()
    }
}

extension MediaPlaylist.Key {
    func write(into buffer: inout ByteBuffer) {
        switch self.method {
        case .aes128: buffer.writeLiteral("#EXT-X-KEY:METHOD=AES-128,URI=\"")
        case .sampleAES: buffer.writeLiteral("#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"")
        }
        buffer.writeURI(self.uri)
        buffer.writeByte(UInt8(ascii: "\""))
        if let iv = self.iv {
            buffer.writeLiteral(",IV=0x")
            for shift in stride(from: 124, through: 0, by: -4) {
                buffer.writeByte(Hexadecimal.upper(UInt8(truncatingIfNeeded: iv >> UInt128(shift)) & 15))
            }
        }
        buffer.writeNewline()
    }
}

extension MediaPlaylist.Part {
    func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("#EXT-X-PART:DURATION=")
        buffer.writeSeconds(self.duration)
        buffer.writeLiteral(",URI=\"")
        buffer.writeURI(self.uri)
        buffer.writeByte(UInt8(ascii: "\""))
        if let range = self.byteRange {
            buffer.writeLiteral(",BYTERANGE=\"")
            buffer.writeByteRange(range)
            buffer.writeByte(UInt8(ascii: "\""))
        }
        if self.isIndependent { buffer.writeLiteral(",INDEPENDENT=YES") }
        if self.isGap { buffer.writeLiteral(",GAP=YES") }
        buffer.writeNewline()
    }
}

extension MediaPlaylist.PreloadHint {
    func write(into buffer: inout ByteBuffer) {
        switch self.resource {
        case .part: buffer.writeLiteral("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"")
        case .map: buffer.writeLiteral("#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"")
        }
        buffer.writeURI(self.uri)
        buffer.writeByte(UInt8(ascii: "\""))
        if let start = self.byteRangeStart {
            buffer.writeLiteral(",BYTERANGE-START=")
            buffer.writeDecimal(start)
        }
        if let length = self.byteRangeLength {
            buffer.writeLiteral(",BYTERANGE-LENGTH=")
            buffer.writeDecimal(length)
        }
        buffer.writeNewline()
    }
}

extension MediaPlaylist.RenditionReport {
    func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("#EXT-X-RENDITION-REPORT:URI=\"")
        buffer.writeURI(self.uri)
        buffer.writeLiteral("\",LAST-MSN=")
        buffer.writeDecimal(self.lastSequence)
        if let part = self.lastPart {
            buffer.writeLiteral(",LAST-PART=")
            buffer.writeDecimal(part)
        }
        buffer.writeNewline()
    }
}

extension DateRange {
    func write(into buffer: inout ByteBuffer) {
        buffer.writeLiteral("#EXT-X-DATERANGE:ID=")
        buffer.writeQuoted(self.id)
        if let classIdentifier = self.classIdentifier {
            buffer.writeLiteral(",CLASS=")
            buffer.writeQuoted(classIdentifier)
        }
        buffer.writeLiteral(",START-DATE=\"")
        buffer.writeDateTime(millis: self.startMillis)
        buffer.writeByte(UInt8(ascii: "\""))
        if let endMillis = self.endMillis {
            buffer.writeLiteral(",END-DATE=\"")
            buffer.writeDateTime(millis: endMillis)
            buffer.writeByte(UInt8(ascii: "\""))
        }
        if let duration = self.duration {
            buffer.writeLiteral(",DURATION=")
            buffer.writeSeconds(duration)
        }
        if let plannedDuration = self.plannedDuration {
            buffer.writeLiteral(",PLANNED-DURATION=")
            buffer.writeSeconds(plannedDuration)
        }
        for attribute in self.attributes where attribute.isValid {
            buffer.writeByte(UInt8(ascii: ","))
            buffer.writeString(attribute.name)
            buffer.writeByte(UInt8(ascii: "="))
            attribute.value.write(into: &buffer)
        }
        if let bytes = self.scte35Command {
            buffer.writeLiteral(",SCTE35-CMD=")
            buffer.writeHexadecimal(bytes)
        }
        if let bytes = self.scte35Out {
            buffer.writeLiteral(",SCTE35-OUT=")
            buffer.writeHexadecimal(bytes)
        }
        if let bytes = self.scte35In {
            buffer.writeLiteral(",SCTE35-IN=")
            buffer.writeHexadecimal(bytes)
        }
        if self.endsOnNext { buffer.writeLiteral(",END-ON-NEXT=YES") }
        buffer.writeNewline()
    }
}

extension DateRange.Value {
    func write(into buffer: inout ByteBuffer) {
        switch self {
        case .text(let text): buffer.writeQuoted(text)
        case .bytes(let bytes): buffer.writeHexadecimal(bytes)
        case .number(let unscaled, let decimals):
            var divisor: UInt64 = 1
            for _ in 0..<min(max(decimals, 0), 9) { divisor *= 10 }
            if unscaled < 0 { buffer.writeByte(UInt8(ascii: "-")) }
            let (whole, fraction) = unscaled.magnitude.quotientAndRemainder(dividingBy: divisor)
            buffer.writeDecimal(whole)
            guard divisor > 1 else { return }
            buffer.writeByte(UInt8(ascii: "."))
            buffer.writeDecimal(fraction, minimumDigits: min(decimals, 9))
        }
    }
}

extension ByteBuffer {
    mutating func writeByteRange(_ range: MediaPlaylist.ByteRange) {
        self.writeDecimal(range.length)
        self.writeByte(UInt8(ascii: "@"))
        self.writeDecimal(range.offset)
    }
}
