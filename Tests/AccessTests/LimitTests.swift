import Access
import Media
import NIOCore
import Testing

@Suite("Limits over virtual time")
struct LimitTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private static func address(_ number: UInt32) -> IPAddress { IPAddress(ipv4: number) }

    private static func limits(
        sessions: Int? = nil, rate: Int? = nil, perAddress: Int? = nil, addressRate: Int? = nil, exempt: [CIDR] = []
    ) -> ConnectionLimits {
        var limits = ConnectionLimits()
        limits.sessions = sessions
        limits.handshakesPerSecond = rate
        limits.connectionsPerAddress = perAddress
        limits.handshakesPerAddressPerSecond = addressRate
        limits.exempt = exempt
        return limits
    }

    // MARK: Bucket

    @Test("a bucket gives its burst at once, then its rate", arguments: [(1, 1), (10, 10), (100, 7), (1_000, 2_000)])
    func bucket(rate: Int, burst: Int) {
        var bucket = TokenBucket(now: Self.start)
        for number in 0..<burst { #expect(bucket.take(rate: rate, burst: burst, now: Self.start) == true, "\(number)") }
        #expect(bucket.take(rate: rate, burst: burst, now: Self.start) == false)
        let interval = TimeAmount.nanoseconds(1_000_000_000 / Int64(rate))
        #expect(bucket.take(rate: rate, burst: burst, now: Self.start + interval - .nanoseconds(1)) == false)
        #expect(bucket.take(rate: rate, burst: burst, now: Self.start + interval) == true)
        #expect(bucket.take(rate: rate, burst: burst, now: Self.start + interval) == false)
    }

    @Test("over a long time no more pass than the rate and one burst, whenever they come")
    func bucketOverTime() {
        var random = Noise(seed: 11)
        var bucket = TokenBucket(now: Self.start)
        var now = Self.start
        var passed = 0
        while now < Self.start + .seconds(60) {
            if bucket.take(rate: 20, burst: 5, now: now) { passed += 1 }
            now = now + .milliseconds(Int64.random(in: 0...20, using: &random))
        }
        #expect(passed <= 60 * 20 + 5)
        #expect(passed >= 60 * 20 - 5)
    }

    @Test("a bucket that rests holds no more than its burst, and its time may stand still or jump back")
    func bucketRest() {
        var bucket = TokenBucket(now: Self.start)
        let later = Self.start + .hours(10)
        #expect((0..<10).filter { _ in bucket.take(rate: 100, burst: 3, now: later) }.count == 3)
        #expect(bucket.take(rate: 100, burst: 3, now: Self.start) == false)
        #expect(!bucket.isFull(now: later) && bucket.isFull(now: later + .milliseconds(30)))
        var extreme = TokenBucket(now: Self.start)
        #expect(extreme.take(rate: .max, burst: .max, now: Self.start) == true)
        #expect(extreme.take(rate: 1, burst: .max, now: Self.start) == true)
    }

    // MARK: Connections

    @Test("the node's sessions are limited, and one that closes makes room")
    func sessions() {
        var limiter = ConnectionLimiter(now: Self.start)
        let limits = Self.limits(sessions: 2)
        #expect(limiter.opened(Self.address(1), limits: limits, now: Self.start) == nil)
        #expect(limiter.opened(nil, limits: limits, now: Self.start) == nil)
        #expect(limiter.opened(Self.address(2), limits: limits, now: Self.start) == .nodeSessions)
        #expect(limiter.connections == 2)
        limiter.closed(nil)
        #expect(limiter.opened(Self.address(2), limits: limits, now: Self.start) == nil)
        limiter.closed(Self.address(1))
        limiter.closed(Self.address(2))
        limiter.closed(Self.address(2))
        #expect(limiter.connections == 0)
    }

    @Test("connections of an address are limited; IPv6 counts by 64 bits")
    func perAddress() throws {
        var limiter = ConnectionLimiter(now: Self.start)
        let limits = Self.limits(perAddress: 2)
        let first = try IPAddress(parsing: "2001:db8::1")
        let neighbour = try IPAddress(parsing: "2001:db8::ffff:1")
        let stranger = try IPAddress(parsing: "2001:db8:0:1::1")
        #expect(limiter.opened(first, limits: limits, now: Self.start) == nil)
        #expect(limiter.opened(neighbour, limits: limits, now: Self.start) == nil)
        #expect(limiter.opened(first, limits: limits, now: Self.start) == .addressConnections)
        #expect(limiter.opened(stranger, limits: limits, now: Self.start) == nil)
        limiter.closed(neighbour)
        #expect(limiter.opened(first, limits: limits, now: Self.start) == nil)
    }

    @Test("handshakes of an address are limited, and take nothing of what others may have")
    func addressRate() {
        var limiter = ConnectionLimiter(now: Self.start)
        let limits = Self.limits(rate: 20, addressRate: 5)
        let results = (0..<100).map { _ in limiter.opened(Self.address(1), limits: limits, now: Self.start) }
        #expect(results.filter { $0 == nil }.count == 5)
        #expect(results.filter { $0 == .addressHandshakes }.count == 95)
        let others = (2..<100).map { limiter.opened(Self.address($0), limits: limits, now: Self.start) }
        #expect(others.filter { $0 == nil }.count == 15)
        #expect(others.filter { $0 == .nodeHandshakes }.count == 83)
        #expect(limiter.opened(Self.address(1), limits: limits, now: Self.start + .milliseconds(200)) == nil)
    }

    @Test("a browser's first connections pass a low rate")
    func minimumBurst() {
        var limiter = ConnectionLimiter(now: Self.start)
        let limits = Self.limits(addressRate: 1)
        let results = (0..<6).map { _ in limiter.opened(Self.address(1), limits: limits, now: Self.start) }
        #expect(results == [nil, nil, nil, nil, .addressHandshakes, .addressHandshakes])
    }

    @Test("exempt addresses have the node's limits only")
    func exempt() throws {
        var limiter = ConnectionLimiter(now: Self.start)
        let proxy = try IPAddress(parsing: "10.0.0.1")
        let limits = Self.limits(
            sessions: 50, perAddress: 1, addressRate: 1, exempt: [try CIDR(parsing: "10.0.0.0/8")])
        for _ in 0..<50 { #expect(limiter.opened(proxy, limits: limits, now: Self.start) == nil) }
        #expect(limiter.opened(proxy, limits: limits, now: Self.start) == .nodeSessions)
    }

    @Test("limits that change count from then on")
    func reload() {
        var limiter = ConnectionLimiter(now: Self.start)
        for _ in 0..<10 { #expect(limiter.opened(Self.address(1), limits: Self.limits(), now: Self.start) == nil) }
        #expect(
            limiter.opened(Self.address(1), limits: Self.limits(perAddress: 10), now: Self.start)
                == .addressConnections)
        #expect(limiter.opened(Self.address(1), limits: Self.limits(perAddress: 11), now: Self.start) == nil)
        #expect(limiter.opened(Self.address(2), limits: Self.limits(sessions: 11), now: Self.start) == .nodeSessions)
    }

    @Test("addresses that came and went are forgotten")
    func forgetting() {
        var limiter = ConnectionLimiter(now: Self.start)
        let limits = Self.limits(perAddress: 10, addressRate: 10)
        var now = Self.start
        for number in 0..<50_000 as Range<UInt32> {
            #expect(limiter.opened(Self.address(number), limits: limits, now: now) == nil)
            limiter.closed(Self.address(number))
            now = now + .milliseconds(1)
        }
        #expect(limiter.addressCount < 1_000)
        for _ in 0..<1_000 {
            now = now + .seconds(1)
            _ = limiter.opened(nil, limits: limits, now: now)
        }
        #expect(limiter.addressCount == 0)
    }

    @Test("a full table forgets idle addresses, never those with connections, and keeps nobody out")
    func fullTable() {
        var limiter = ConnectionLimiter(maximumAddresses: 100, now: Self.start)
        let limits = Self.limits(perAddress: 1, addressRate: 1)
        for number in 0..<50 as Range<UInt32> {
            #expect(limiter.opened(Self.address(number), limits: limits, now: Self.start) == nil)
        }
        for number in 1_000..<100_000 as Range<UInt32> {
            #expect(limiter.opened(Self.address(number), limits: limits, now: Self.start) == nil)
            limiter.closed(Self.address(number))
        }
        #expect(limiter.addressCount == 100)
        #expect(limiter.uncounted == 0)
        for number in 0..<50 as Range<UInt32> {
            #expect(limiter.opened(Self.address(number), limits: limits, now: Self.start) == .addressConnections)
        }
        for number in 200_000..<200_060 as Range<UInt32> {
            #expect(limiter.opened(Self.address(number), limits: limits, now: Self.start) == nil)
        }
        #expect(limiter.addressCount == 100)
        #expect(limiter.uncounted == 10)
        #expect(limiter.connections == 110)
    }

    @Test("counts agree with a plain model over random comings and goings")
    func model() {
        var random = Noise(seed: 3)
        var limiter = ConnectionLimiter(maximumAddresses: 1_000, now: Self.start)
        let limits = Self.limits(sessions: 60, perAddress: 4)
        var open: [UInt32] = []
        var now = Self.start
        for _ in 0..<50_000 {
            now = now + .milliseconds(Int64.random(in: 0...5, using: &random))
            if Int.random(in: 0..<5, using: &random) < 3 {
                let number = UInt32.random(in: 0..<30, using: &random)
                let wanted: ConnectionRefusal? =
                    open.count >= 60
                    ? .nodeSessions : open.count { $0 == number } >= 4 ? .addressConnections : nil
                #expect(limiter.opened(Self.address(number), limits: limits, now: now) == wanted)
                if wanted == nil { open.append(number) }
            } else if let index = open.indices.randomElement(using: &random) {
                limiter.closed(Self.address(open.remove(at: index)))
            }
            #expect(limiter.connections == open.count)
        }
    }

    // MARK: Quotas

    private static func key(_ name: String = "game", app: String = "live") throws -> StreamKey {
        try StreamKey(app: app, name: name)
    }

    @Test("viewers of a stream are limited, with those that have not begun yet")
    func viewers() throws {
        var quota = SessionQuota()
        let limits = SessionQuotaLimits(viewersPerStream: 2)
        let key = try Self.key()
        #expect(quota.reserve("a", key: key, action: .play, limits: limits, now: Self.start) == nil)
        #expect(quota.reserve("a", key: key, action: .play, limits: limits, now: Self.start) == nil)
        #expect(quota.reserve("b", key: key, action: .play, limits: limits, now: Self.start) == nil)
        #expect(quota.reserve("c", key: key, action: .play, limits: limits, now: Self.start) == .viewersPerStream)
        let other = try Self.key("other")
        #expect(quota.reserve("c", key: other, action: .play, limits: limits, now: Self.start) == nil)
        quota.began("a", key: key, action: .play)
        #expect(quota.viewers(of: key) == 1)
        #expect(quota.reserve("d", key: key, action: .play, limits: limits, now: Self.start) == .viewersPerStream)
        #expect(quota.refusal(key: key, action: .play, limits: limits, now: Self.start) == .viewersPerStream)
        // Who is in stays in.
        #expect(quota.reserve("a", key: key, action: .play, limits: limits, now: Self.start) == nil)
        quota.ended("a")
        #expect(quota.refusal(key: key, action: .play, limits: limits, now: Self.start) == nil)
        #expect(quota.reserve("d", key: key, action: .play, limits: limits, now: Self.start) == nil)
        quota.withdraw("b")
        #expect(quota.reserve("e", key: key, action: .play, limits: limits, now: Self.start) == nil)
    }

    @Test("publishers are counted by app")
    func publishers() throws {
        var quota = SessionQuota()
        let limits = SessionQuotaLimits(publishersPerApp: 1, viewersPerStream: 0)
        let key = try Self.key()
        #expect(quota.reserve("a", key: key, action: .publish, limits: limits, now: Self.start) == nil)
        quota.began("a", key: key, action: .publish)
        #expect(quota.publishers(vhost: key.vhost, app: "live") == 1)
        #expect(
            try quota.reserve("b", key: Self.key("x"), action: .publish, limits: limits, now: Self.start)
                == .publishersPerApp)
        #expect(
            try quota.reserve("b", key: Self.key(app: "other"), action: .publish, limits: limits, now: Self.start)
                == nil)
        #expect(quota.reserve("c", key: key, action: .play, limits: limits, now: Self.start) == .viewersPerStream)
        // The same session may publish another stream of its app, once it has ended the first.
        quota.ended("a")
        #expect(try quota.reserve("a", key: Self.key("y"), action: .publish, limits: limits, now: Self.start) == nil)
    }

    @Test("a reservation that nobody takes is void after its time, and one that is renewed is not")
    func voidReservations() throws {
        var quota = SessionQuota(reservationTime: .seconds(30))
        let limits = SessionQuotaLimits(viewersPerStream: 1)
        let key = try Self.key()
        func reserve(_ session: String, _ seconds: Int64) -> SessionQuota.Refusal? {
            quota.reserve(session, key: key, action: .play, limits: limits, now: Self.start + .seconds(seconds))
        }
        #expect(reserve("a", 0) == nil)
        #expect(reserve("b", 29) == .viewersPerStream)
        #expect(reserve("b", 30) == nil)
        #expect(reserve("b", 50) == nil)
        #expect(reserve("a", 70) == .viewersPerStream)
        #expect(reserve("a", 80) == nil)
        // One that began is no reservation any more.
        quota.began("a", key: key, action: .play)
        #expect(reserve("b", 1_000) == .viewersPerStream)
        #expect(quota.rememberedCount == 1)
    }

    @Test("nothing is remembered of sessions that are gone, limits or not")
    func memory() throws {
        var quota = SessionQuota()
        var now = Self.start
        for number in 0..<20_000 {
            let limits = SessionQuotaLimits(
                publishersPerApp: number % 3 == 0 ? nil : 100_000, viewersPerStream: 100_000)
            let key = try Self.key("s\(number)")
            let action: AccessAction = number % 2 == 0 ? .publish : .play
            #expect(quota.reserve("id\(number)", key: key, action: action, limits: limits, now: now) == nil)
            if number % 5 != 0 {
                quota.began("id\(number)", key: key, action: action)
                quota.ended("id\(number)")
            } else if number % 10 == 0 {
                quota.withdraw("id\(number)")
            }
            now = now + .milliseconds(10)
        }
        // Those of the last 30 s.
        #expect(quota.rememberedCount <= 3_000)
        now = now + .seconds(61)
        _ = quota.refusal(key: try Self.key(), action: .play, limits: .init(viewersPerStream: 1), now: now)
        #expect(quota.rememberedCount == 0)
        #expect(quota.scopeCount == 0)
    }

    @Test("counts agree with a plain model over random sessions")
    func quotaModel() throws {
        var random = Noise(seed: 5)
        var quota = SessionQuota(reservationTime: .hours(1_000))
        let limits = SessionQuotaLimits(viewersPerStream: 5)
        let keys = try (0..<3).map { try Self.key("s\($0)") }
        var reserved: [String: StreamKey] = [:]
        var active: [String: StreamKey] = [:]
        for _ in 0..<30_000 {
            let session = "id\(Int.random(in: 0..<30, using: &random))"
            let key = keys[Int.random(in: 0..<3, using: &random)]
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                var wanted: SessionQuota.Refusal?
                if active[session] != key {
                    reserved[session] = nil
                    let count = (Array(reserved.values) + active.values).count { $0 == key }
                    wanted = count >= 5 ? .viewersPerStream : nil
                    if wanted == nil { reserved[session] = key }
                }
                #expect(quota.reserve(session, key: key, action: .play, limits: limits, now: Self.start) == wanted)
            case 1:
                guard let place = reserved.removeValue(forKey: session) else { continue }
                active[session] = place
                quota.began(session, key: place, action: .play)
            case 2:
                active[session] = nil
                quota.ended(session)
            default:
                reserved[session] = nil
                quota.withdraw(session)
            }
            for key in keys { #expect(quota.viewers(of: key) == active.values.count { $0 == key }) }
        }
    }
}
