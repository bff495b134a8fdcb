import NIOCore
import Testing

@testable import TransportStreams

struct TSSenderTableTests {
    private typealias Table = TSSenderTable<String, String>

    private static func host(_ endpoint: String) -> String { String(endpoint.prefix { $0 != ":" }) }

    private static func send(_ table: inout Table, _ endpoint: String, _ millis: Int64) -> Table.Verdict {
        table.receive(from: endpoint, host: { Self.host(endpoint) }, now: .after(millis: millis))
    }

    @Test("One stream has one sender; another takes its place when it is silent for a moment")
    func takeover() {
        var table = Table()
        #expect(table.isEmpty)
        #expect(table.nextDeadline == nil)
        let verdicts = [
            Self.send(&table, "a:1", 0), Self.send(&table, "a:1", 10), Self.send(&table, "b:1", 20),
            Self.send(&table, "a:2", 509), Self.send(&table, "a:2", 510), Self.send(&table, "a:1", 520),
            Self.send(&table, "a:1", 1_010), Self.send(&table, "a:1", 1_020),
        ]
        #expect(
            verdicts == [
                .newStream(0), .stream(0), .foreign, .foreign, .newSender(0), .foreign, .newSender(0), .stream(0),
            ])
    }

    @Test("Hosts have streams of their own where they are told apart, ports of one host have not")
    func hosts() {
        var table = Table(configuration: .init(separatesHosts: true, maximumSenders: 2))
        let verdicts = [
            Self.send(&table, "a:1", 0), Self.send(&table, "b:1", 0), Self.send(&table, "a:2", 0),
            Self.send(&table, "c:1", 0), Self.send(&table, "a:2", 600), Self.send(&table, "b:1", 600),
        ]
        #expect(verdicts == [.newStream(0), .newStream(1), .foreign, .full, .newSender(0), .stream(1)])
    }

    @Test("A sender that is silent for long is forgotten, and begins a new stream when it comes back")
    func idle() {
        var table = Table(configuration: .init(separatesHosts: true))
        _ = Self.send(&table, "a:1", 0)
        _ = Self.send(&table, "b:1", 1_000)
        #expect(table.nextDeadline == .after(millis: 5_000))
        let early = table.deadlineReached(now: .after(millis: 4_999))
        let first = table.deadlineReached(now: .after(millis: 5_000))
        #expect(early == [])
        #expect(first == [0])
        #expect(table.nextDeadline == .after(millis: 6_000))
        let again = Self.send(&table, "a:1", 5_001)
        #expect(again == .newStream(2))
        let both = table.deadlineReached(now: .after(millis: 20_000))
        #expect(both == [1, 2])
        #expect(table.isEmpty)
    }
}
