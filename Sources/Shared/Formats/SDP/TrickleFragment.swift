/// A part of a description that carries ICE candidates or begins an ICE restart: the body of a PATCH with the type
/// `application/trickle-ice-sdpfrag`. Spec: RFC 8840 §9, RFC 9725 §4.3.
package struct TrickleFragment: Sendable, Hashable {
    package static let mediaType = "application/trickle-ice-sdpfrag"

    /// What the fragment says for all sections, such as `ice-ufrag`, `ice-pwd` and `group`.
    package var attributes: [SDPAttribute]
    /// The pseudo m-lines with `mid`, candidates and `end-of-candidates`.
    package var media: [MediaDescription]

    package init(attributes: [SDPAttribute] = [], media: [MediaDescription] = []) {
        self.attributes = attributes
        self.media = media
    }

    /// Parses a fragment. Lines other than `a=` and `m=` in front of the sections are ignored, as the grammar has none.
    package init(
        parsing text: String, limits: SessionDescription.Limits = SessionDescription.Limits(length: 64 * 1024)
    ) throws(SDPError) {
        let sections = try SDPSections(parsing: text, limits: limits)
        self.attributes = sections.session.compactMap { line, _ in
            line.type == "a" ? SDPAttribute(parsing: line.value) : nil
        }
        self.media = sections.media
    }

    /// The text, each line ended by CRLF.
    package var text: String {
        var text = ""
        for attribute in self.attributes { attribute.write(into: &text) }
        for media in self.media { media.write(into: &text) }
        return text
    }

    /// The `ice-ufrag` of the fragment or of its first section that has one.
    package var ufrag: String? { self.first("ice-ufrag") }

    /// The `ice-pwd` of the fragment or of its first section that has one.
    package var password: String? { self.first("ice-pwd") }

    /// The values of all `a=candidate` lines, in their order.
    package var candidates: [String] {
        self.attributes.all("candidate") + self.media.flatMap { $0.attributes.all("candidate") }
    }

    /// The peer has no further candidates.
    package var isEndOfCandidates: Bool {
        self.attributes.has("end-of-candidates") || self.media.contains { $0.attributes.has("end-of-candidates") }
    }

    private func first(_ name: String) -> String? {
        self.attributes.first(name) ?? self.media.lazy.compactMap { $0.attributes.first(name) }.first
    }
}
