/// Scenarios of sipp, which nobody here wrote: what a device says, and what it has to be answered.
enum SIPScenarios {
    private static let head = """
        Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]
              From: <sip:[service]@3402000000>;tag=[call_number]
              To: <sip:[service]@3402000000>
              Call-ID: [call_id]
              Contact: <sip:[service]@[local_ip]:[local_port]>
              Max-Forwards: 70
        """

    private static func request(_ method: String, sequence: Int, fields: String = "", body: String = "") -> String {
        """
          <send retrans="500"><![CDATA[
              \(method) sip:34020000002000000001@3402000000 SIP/2.0
              \(self.head)
              CSeq: \(sequence) \(method)\(fields.isEmpty ? "" : "\n      \(fields)")
              Content-Length: [len]

        \(body)]]></send>

        """
    }

    private static func scenario(_ name: String, _ steps: [String]) -> String {
        "<?xml version=\"1.0\" encoding=\"ISO-8859-1\" ?>\n<scenario name=\"\(name)\">\n\(steps.joined())</scenario>\n"
    }

    private static func receive(_ status: Int, isChallenge: Bool = false) -> String {
        "  <recv response=\"\(status)\"\(isChallenge ? " auth=\"true\"" : "")></recv>\n"
    }

    private static func authorization(_ password: String) -> String {
        "[authentication password=\(password)]"
    }

    private static let keepalive = """
              <?xml version="1.0"?>
              <Notify>
              <CmdType>Keepalive</CmdType>
              <SN>1</SN>
              <DeviceID>[service]</DeviceID>
              <Status>OK</Status>
              </Notify>

        """

    private static let alarm = """
              <?xml version="1.0"?>
              <Notify>
              <CmdType>Alarm</CmdType>
              <SN>2</SN>
              <DeviceID>[service]</DeviceID>
              <AlarmPriority>1</AlarmPriority>
              <AlarmMethod>5</AlarmMethod>
              <AlarmTime>2024-05-01T08:00:00</AlarmTime>
              </Notify>

        """

    private static func answer(_ status: String, fields: String = "", body: String = "") -> String {
        """
          <send><![CDATA[
              SIP/2.0 \(status)
              [last_Via:]
              [last_From:]
              [last_To:]\(status.hasPrefix("200") ? ";tag=[call_number]" : "")
              [last_Call-ID:]
              [last_CSeq:]\(fields)
              Content-Length: [len]

        \(body)]]></send>

        """
    }

    /// Registers by digest.
    static let registration = scenario(
        "registration",
        [
            Self.request("REGISTER", sequence: 1, fields: "Expires: 3600"), Self.receive(401, isChallenge: true),
            Self.request("REGISTER", sequence: 2, fields: "Expires: 3600\n      \(Self.authorization("secret"))"),
            Self.receive(200),
        ])

    /// Answers one question, or takes an invitation and waits until it is hung up.
    static let invited = scenario(
        "invited",
        [
            "  <recv request=\"MESSAGE\" optional=\"true\" next=\"asked\"></recv>\n",
            "  <recv request=\"INVITE\"></recv>\n", Self.answer("100 Trying"),
            Self.answer(
                "200 OK",
                fields: "\n      Contact: <sip:[service]@[local_ip]:[local_port]>\n      Content-Type: application/sdp",
                body: """
                          v=0
                          o=[service] 0 0 IN IP4 [local_ip]
                          s=Play
                          c=IN IP4 [local_ip]
                          t=0 0
                          m=video 30000 RTP/AVP 96
                          a=sendonly
                          a=rtpmap:96 PS/90000

                    """), "  <recv request=\"ACK\"></recv>\n  <recv request=\"BYE\"></recv>\n",
            "  <label id=\"asked\"/>\n", Self.answer("200 OK"),
        ])

    /// Registers by digest, keeps alive, tells of an alarm, and unregisters.
    static let life = scenario(
        "life",
        [
            Self.request("REGISTER", sequence: 1, fields: "Expires: 3600"), Self.receive(401, isChallenge: true),
            Self.request("REGISTER", sequence: 2, fields: "Expires: 3600\n      \(Self.authorization("secret"))"),
            Self.receive(200),
            Self.request(
                "MESSAGE", sequence: 3, fields: "Content-Type: Application/MANSCDP+xml", body: Self.keepalive),
            Self.receive(200),
            Self.request("MESSAGE", sequence: 4, fields: "Content-Type: Application/MANSCDP+xml", body: Self.alarm),
            Self.receive(200), Self.request("REGISTER", sequence: 5, fields: "Expires: 0"),
            Self.receive(401, isChallenge: true),
            Self.request("REGISTER", sequence: 6, fields: "Expires: 0\n      \(Self.authorization("secret"))"),
            Self.receive(200),
        ])

    static let wrongPassword = scenario(
        "wrong password",
        [
            Self.request("REGISTER", sequence: 1, fields: "Expires: 3600"), Self.receive(401, isChallenge: true),
            Self.request("REGISTER", sequence: 2, fields: "Expires: 3600\n      \(Self.authorization("guess"))"),
            Self.receive(403),
        ])

    static let stranger = scenario(
        "a keepalive without registration",
        [
            Self.request(
                "MESSAGE", sequence: 1, fields: "Content-Type: Application/MANSCDP+xml", body: Self.keepalive),
            Self.receive(403),
        ])
}
