package import NIOCore

extension SIPMessage {
    /// The hop that sent the message, or to which a response goes back.
    package var via: SIPVia? { self["Via"].flatMap { SIPVia(parsing: $0) } }
    package var from: SIPAddress? { self["From"].flatMap { SIPAddress(parsing: $0) } }
    package var to: SIPAddress? { self["To"].flatMap { SIPAddress(parsing: $0) } }
    package var contact: SIPAddress? { self["Contact"].flatMap { SIPAddress(parsing: $0) } }
    package var sequence: SIPSequence? { self["CSeq"].flatMap { SIPSequence(parsing: $0) } }
    package var callID: String? { self["Call-ID"] }

    /// `Expires` in seconds, or the one of `Contact`, which counts more (§10.2.1.1). `nil` where neither is said.
    package var expires: Int? {
        let text = self.contact?.parameters.first("expires") ?? self["Expires"]
        guard let text, !text.isEmpty, text.utf8.count <= 10, let seconds = Int(text), seconds >= 0 else { return nil }
        return seconds
    }

    /// The type of the body without parameters, in lower case; empty where none is said.
    package var contentType: String {
        let type = self["Content-Type"] ?? ""
        return SIPHead.trimmed(type.prefix { $0 != ";" }).lowercased()
    }

    /// The fields that every request has; errors name the first that is missing or wrong. Spec: §8.1.1.
    package func checkRequest() throws(SIPError) {
        guard let via = self["Via"] else { throw .missing(field: "Via") }
        guard SIPVia(parsing: via) != nil else { throw .malformed(field: "Via") }
        guard let from = self["From"] else { throw .missing(field: "From") }
        guard SIPAddress(parsing: from) != nil else { throw .malformed(field: "From") }
        guard let to = self["To"] else { throw .missing(field: "To") }
        guard SIPAddress(parsing: to) != nil else { throw .malformed(field: "To") }
        guard let id = self.callID else { throw .missing(field: "Call-ID") }
        guard !id.isEmpty, id.utf8.count <= 256 else { throw .malformed(field: "Call-ID") }
        guard let sequence = self["CSeq"] else { throw .missing(field: "CSeq") }
        guard let parsed = SIPSequence(parsing: sequence), parsed.method == self.method else {
            throw .malformed(field: "CSeq")
        }
    }

    /// The response to this request: its hops, dialog and number, with where it came from put into the first hop.
    ///
    /// `tag` is added to `To` where it has none. Spec: §8.2.6.2, §18.2.1; RFC 3581 §4.
    package func response(
        _ status: Int, _ reason: String, tag: String?, receivedFrom source: (host: String, port: Int)? = nil
    ) -> SIPMessage {
        var response = SIPMessage(.response(status: status, reason: reason))
        for field in self.fields where SIPFieldName.matches(field.name, "Via") {
            response.fields.append(Field("Via", field.value))
        }
        if let source, var via = self.via, let index = response.fields.indices.first {
            if via.parameters.first("rport") != nil {
                via.parameters.set("rport", "\(source.port)")
                via.parameters.set("received", source.host)
            } else if via.host != source.host {
                via.parameters.set("received", source.host)
            }
            let others = response.fields[index].value.split(separator: ",", maxSplits: 1).dropFirst()
            response.fields[index].value = ([via.text] + others.map { SIPHead.trimmed($0) }).joined(separator: ", ")
        }
        if let from = self["From"] { response.fields.append(Field("From", from)) }
        if let to = self["To"] {
            let needsTag = tag != nil && status > 100 && SIPAddress(parsing: to)?.tag == nil
            response.fields.append(Field("To", needsTag ? "\(to);tag=\(tag ?? "")" : to))
        }
        if let id = self.callID { response.fields.append(Field("Call-ID", id)) }
        if let sequence = self["CSeq"] { response.fields.append(Field("CSeq", sequence)) }
        return response
    }

    /// The message as bytes.
    package var bytes: ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: 512 + self.body.readableBytes)
        self.write(into: &buffer)
        return buffer
    }
}
