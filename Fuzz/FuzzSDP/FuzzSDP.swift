import NIOCore
import SDP

/// libFuzzer's entry: the first byte chooses what is done, the rest is its input.
@c(LLVMFuzzerTestOneInput)
public func fuzzSDP(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // Safety: libFuzzer passes `count` readable bytes, which are copied here.
    var input = unsafe ByteBuffer(bytes: UnsafeBufferPointer(start: data, count: count))
    guard let choice = input.readInteger(as: UInt8.self) else { return 0 }
    let text = String(buffer: input)
    switch choice % 3 {
    case 0: readDescription(text)
    case 1: readFragment(text)
    default: readAttributes(text)
    }
    return 0
}

/// What was written once is read as the same again.
private func readDescription(_ text: String) {
    guard let description = try? SessionDescription(parsing: text) else { return }
    let written = description.text
    // Writing orders lines and may lengthen them a little, so that limits need room.
    let limits = SessionDescription.Limits(length: .max, lines: .max, mediaDescriptions: .max)
    guard let again = try? SessionDescription(parsing: written, limits: limits) else {
        preconditionFailure("a written description was not read")
    }
    precondition(again.text == written, "a description changed by being read again")
    for media in description.media {
        _ = (media.mid, media.rtpMaps, media.extensionMaps, media.sources, media.sourceGroups, media.simulcast)
        _ = (media.restrictionIdentifiers, description.direction(of: media), media.feedback(of: 96))
        _ = media.formatParameters(of: 96)
    }
}

private func readFragment(_ text: String) {
    guard let fragment = try? TrickleFragment(parsing: text) else { return }
    _ = (fragment.ufrag, fragment.password, fragment.candidates, fragment.isEndOfCandidates)
    let written = fragment.text
    guard !written.isEmpty else { return }
    let limits = SessionDescription.Limits(length: .max, lines: .max, mediaDescriptions: .max)
    guard let again = try? TrickleFragment(parsing: written, limits: limits) else {
        preconditionFailure("a written fragment was not read")
    }
    precondition(again.text == written, "a fragment changed by being read again")
}

/// The text as the value of each attribute: what is read and written is read as the same again.
private func readAttributes(_ text: String) {
    if let map = RTPMap(parsing: text) { precondition(RTPMap(parsing: map.value) == map) }
    if let map = ExtensionMap(parsing: text) { precondition(ExtensionMap(parsing: map.value) == map) }
    if let feedback = FeedbackAttribute(parsing: text) {
        precondition(FeedbackAttribute(parsing: feedback.value) == feedback)
    }
    if let source = SourceAttribute(parsing: text) { precondition(SourceAttribute(parsing: source.value) == source) }
    if let group = SourceGroup(parsing: text) { precondition(SourceGroup(parsing: group.value) == group) }
    if let group = MediaGroup(parsing: text) { precondition(MediaGroup(parsing: group.value) == group) }
    if let fingerprint = CertificateFingerprint(parsing: text) {
        precondition(CertificateFingerprint(parsing: fingerprint.value) == fingerprint)
    }
    if let rid = RestrictionIdentifier(parsing: text) {
        precondition(RestrictionIdentifier(parsing: rid.value)?.id == rid.id)
    }
    _ = SimulcastAttribute(parsing: text)?.value
    _ = FormatParameters(parsing: text).text
}
