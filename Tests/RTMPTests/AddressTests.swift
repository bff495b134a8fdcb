import Testing

@testable import RTMP

@Suite("RTMP addresses")
struct AddressTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var tcURL: String
        var app: String
        var stream: String
        var host: String
        var vhost: String?
        var expectedApp: String
        var name: String
        var query: String
        var testDescription: String { "\(self.tcURL) | \(self.app) | \(self.stream)" }

        init(
            _ tcURL: String, _ app: String, _ stream: String, host: String = "h", vhost: String? = nil,
            app expectedApp: String = "live", name: String = "cam", query: String = ""
        ) {
            self.tcURL = tcURL
            self.app = app
            self.stream = stream
            self.host = host
            self.vhost = vhost
            self.expectedApp = expectedApp
            self.name = name
            self.query = query
        }
    }

    static let cases: [Case] = [
        Case("rtmp://h/live", "live", "cam"),
        Case("rtmp://H:1936/live", "live", "cam"),
        Case("rtmp://h:1935/live/", "live/", "/cam"),
        Case("rtmp://h/a/b", "a/b", "cam", app: "a/b"),
        Case("rtmp://h/live", "", "cam"),
        Case("rtmp://h", "", "cam", app: "__defaultApp__"),
        Case("rtmp://h/live?vhost=v", "live", "cam", vhost: "v", query: "vhost=v"),
        Case("rtmp://h/live", "live?vhost=v", "cam", vhost: "v", query: "vhost=v"),
        Case("rtmp://h/live?vhost=v", "live?vhost=v", "cam", vhost: "v", query: "vhost=v"),
        Case("rtmp://h/live", "live", "cam?vhost=v&token=x", vhost: "v", query: "vhost=v&token=x"),
        Case("rtmp://h/live", "live", "cam?domain=v", vhost: "v", query: "domain=v"),
        Case(
            "rtmp://h/live?vhost=a&k=1", "live", "cam?vhost=b", vhost: "b", query: "vhost=a&k=1&vhost=b"),
        Case("rtmp://h/live?vhost=__defaultVhost__", "live", "cam", query: "vhost=__defaultVhost__"),
        Case("rtmp://h/live...vhost...v", "live...vhost...v", "cam", vhost: "v", query: "vhost=v"),
        Case("rtmp://h/live", "live", "cam...vhost...v", vhost: "v", query: "vhost=v"),
        Case("rtmp://h/live/_definst_", "live/_definst_", "cam"),
        Case("rtmp://h/live", "live", "_definst_/cam"),
        Case("rtmp://h/live", "live", "cam.flv"),
        Case("rtmp://h/live", "live", "mp4:cam.mp4"),
        Case("rtmp://h/live", "live", "flv:cam"),
        Case("rtmp://h/live", "live", "cam.FLV?x=1", query: "x=1"),
        Case("rtmp://h/live", "live", "cam.1", name: "cam.1"),
        Case("rtmp://h/live", "live", ".flv", name: ".flv"),
        Case("rtmp://h/live", "live", "a/b", name: "a/b"),
        Case("rtmp://h/live", "live", " cam "),
        Case("rtmp://h/live/cam", "live/cam", ""),
        Case("rtmp://h/live?vhost=v/cam", "live?vhost=v/cam", "", vhost: "v", query: "vhost=v"),
        Case("rtmp://h/live/cam", "live/cam", "?token=1", query: "token=1"),
        Case("rtmp://[::1]:1935/live", "live", "cam", host: "::1"),
        Case("nonsense", "live", "cam", host: ""),
    ]

    @Test("a stream is found in tcUrl, app and stream name", arguments: Self.cases)
    func resolves(_ test: Case) throws {
        let address = try RTMPStreamAddress(
            tcURL: try? RTMPURL(parsing: test.tcURL), app: test.app, streamName: test.stream)
        #expect(address.host == test.host)
        #expect(address.vhost == test.vhost)
        #expect(address.app == test.expectedApp)
        #expect(address.name == test.name)
        #expect(address.parameters.queryString == test.query)
    }

    @Test("an address without a stream name, or of absurd length, is refused")
    func refuses() {
        #expect(throws: RTMPAddressError.emptyStreamName) {
            try RTMPStreamAddress(tcURL: nil, app: "live", streamName: "")
        }
        #expect(throws: RTMPAddressError.emptyStreamName) {
            try RTMPStreamAddress(tcURL: nil, app: "live", streamName: "//?a=b")
        }
        #expect(throws: RTMPAddressError.tooLong(length: 5000, limit: 4096)) {
            try RTMPStreamAddress(tcURL: nil, app: "live", streamName: String(repeating: "a", count: 5000))
        }
    }

    @Test("a URL is taken apart")
    func url() throws {
        let url = try RTMPURL(parsing: "RTMPS://user:pw@Example.COM:4443/app/sub?a=1")
        #expect(url.scheme == "rtmps")
        #expect(url.host == "example.com")
        #expect(url.port == 4443)
        #expect(url.path == "app/sub")
        #expect(url.parameters["a"] == "1")
        #expect(try RTMPURL(parsing: "rtmp://h").effectivePort == 1935)
        #expect(try RTMPURL(parsing: "rtmps://h/a").effectivePort == 443)
        #expect(try RTMPURL(parsing: "rtmp://h:/a").port == nil)
    }

    @Test(
        "what is no URL is refused",
        arguments: [
            ("", RTMPAddressError.missingScheme), ("h/live", .missingScheme), ("://h", .missingScheme),
            ("rtmp:/h", .missingScheme), ("rtmp:///live", .missingHost), ("rtmp://:1935/live", .missingHost),
            ("rtmp://h:x/live", .invalidPort), ("rtmp://h:0", .invalidPort), ("rtmp://h:70000", .invalidPort),
            ("rtmp://[::1]x/live", .invalidPort),
        ])
    func badURLs(_ text: String, _ error: RTMPAddressError) {
        #expect(throws: error) { try RTMPURL(parsing: text) }
    }

    @Test("parameters keep their order and their escapes, and are looked up decoded")
    func parameters() {
        let parameters = RTMPParameters(query: "a=1&b=x%20y&c&a=2&&d=%zz%")
        #expect(parameters["a"] == "2")
        #expect(parameters["b"] == "x y")
        #expect(parameters["c"] == "")
        #expect(parameters["d"] == "%zz%")
        #expect(parameters["e"] == nil)
        #expect(parameters.queryString == "a=1&b=x%20y&c&a=2&d=%zz%")
        #expect(parameters.removing(["a"]).queryString == "b=x%20y&c&d=%zz%")
    }
}
