import Testing

@testable import SDP

struct AttributeTests {
    @Test("The value of each kind of attribute is read and written as it was")
    func roundTrips() {
        for value in ["111 opus/48000/2", "96 H264/90000", "0 PCMU/8000"] {
            #expect(RTPMap(parsing: value)?.value == value)
        }
        for value in ["3 urn:x", "4/recvonly urn:x", "5/sendonly urn:x with more"] {
            #expect(ExtensionMap(parsing: value)?.value == value)
        }
        for value in ["96 nack", "96 nack pli", "* transport-cc"] {
            #expect(FeedbackAttribute(parsing: value)?.value == value)
        }
        for value in ["4294967295 cname:x", "1 msid:a b", "0 flag"] {
            #expect(SourceAttribute(parsing: value)?.value == value)
        }
        #expect(SourceGroup(parsing: "FID 1 2")?.value == "FID 1 2")
        #expect(MediaGroup(parsing: "BUNDLE 0 1")?.value == "BUNDLE 0 1")
        #expect(MediaGroup(parsing: "BUNDLE")?.mids == [])
        for value in ["hi send", "1 recv pt=96;max-width=1280"] {
            #expect(RestrictionIdentifier(parsing: value)?.value == value)
        }
        for value in ["send h;m;l", "recv a,~b;c", "send 1,2 recv 3"] {
            #expect(SimulcastAttribute(parsing: value)?.value == value)
        }
        #expect(CertificateFingerprint(parsing: "SHA-256 0a:FF:10")?.value == "sha-256 0A:FF:10")
    }

    @Test(
        "Malformed values are none",
        arguments: [
            "", " ", "x", "111", "128 opus/48000", "96 opus", "96 opus/0", "96 opus/x", "96 opus/1/0", "96 /8000",
            "-1 a/1",
            "+1 a/1",
        ])
    func malformedMaps(value: String) {
        #expect(RTPMap(parsing: value) == nil)
    }

    @Test("Malformed values of the other attributes are none")
    func malformed() {
        for value in ["", "1", "0 urn:x", "x urn:x", "1/both urn:x", "4352 urn:x"] {
            #expect(ExtensionMap(parsing: value) == nil)
        }
        for value in ["", "96", "128 nack", "x nack"] { #expect(FeedbackAttribute(parsing: value) == nil) }
        for value in ["", "1", "4294967296 a", "x cname:y"] { #expect(SourceAttribute(parsing: value) == nil) }
        for value in ["", "FID", "FID x", "FID 1 4294967296"] { #expect(SourceGroup(parsing: value) == nil) }
        for value in ["", "h", "h both", "h! send"] { #expect(RestrictionIdentifier(parsing: value) == nil) }
        for value in ["", "send", "both h", "send h recv"] { #expect(SimulcastAttribute(parsing: value) == nil) }
        for value in ["", "sha-256", "sha-256 0", "sha-256 00:", "sha-256 0G", "sha-256 +1", "sha-256 00 11"] {
            #expect(CertificateFingerprint(parsing: value) == nil)
        }
    }

    @Test("Parameters are found without case and blanks, and keep their order")
    func parameters() {
        let parameters = FormatParameters(parsing: "minptime=10; UseInbandFEC=1;;x=a=b; 0-15")
        #expect(parameters["useinbandfec"] == "1" && parameters["MINPTIME"] == "10")
        #expect(parameters["x"] == "a=b" && parameters["y"] == nil)
        #expect(parameters.text == "minptime=10;UseInbandFEC=1;x=a=b;0-15")
    }

    @Test("Feedback of a wildcard counts for each payload type")
    func feedback() {
        let media = MediaDescription(
            kind: "video", formats: ["96", "97"],
            attributes: [SDPAttribute("rtcp-fb", "* nack"), SDPAttribute("rtcp-fb", "96 nack pli")])
        #expect(media.feedback(of: 96) == ["nack", "nack pli"])
        #expect(media.feedback(of: 97) == ["nack"])
    }

    @Test("The parameters of a payload type are not those of another that begins with the same digits")
    func formatParameters() {
        let media = MediaDescription(
            kind: "video", formats: ["9", "96"],
            attributes: [SDPAttribute("fmtp", "96 a=1"), SDPAttribute("fmtp", "9"), SDPAttribute("fmtp", "x a=2")])
        #expect(media.formatParameters(of: 96)?["a"] == "1")
        #expect(media.formatParameters(of: 9) == FormatParameters())
        #expect(media.formatParameters(of: 97) == nil)
    }
}
