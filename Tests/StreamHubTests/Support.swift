import Glibc
import Media
import NIOCore
import NIOPosix
import Streaming
import Synchronization
import Testing

@testable import StreamHub

/// What the test's encoder writes: a kind, a length, and a payload whose bytes follow from its number.
struct Record: Equatable {
    /// `H` header, `P` prelude, `K` keyframe, `v` other video, `a` audio, `t` track, `m` metadata, `X` private bytes.
    var kind: Character
    var number: Int64
}

enum RecordError: Error, Equatable {
    case unknownKind(UInt8, offset: Int)
    case wrongFiller(number: Int64, offset: Int)
    case cutOff(offset: Int)
}

extension ByteBuffer {
    static func payload(number: Int64, filler: Int) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(number)
        buffer.writeRepeatingByte(UInt8(truncatingIfNeeded: number &* 31), count: filler)
        return buffer
    }

    mutating func writeRecord(_ kind: Character, _ payload: ByteBuffer) {
        self.writeInteger(kind.asciiValue ?? 0)
        self.writeInteger(UInt32(payload.readableBytes))
        self.writeImmutableBuffer(payload)
    }

    /// All whole records, and how many bytes of one that is cut off follow.
    func records() throws -> (records: [Record], rest: Int) {
        var reader = self
        var records: [Record] = []
        while reader.readableBytes >= 5 {
            let offset = reader.readerIndex
            guard let kind = reader.getInteger(at: offset, as: UInt8.self),
                let length = reader.getInteger(at: offset + 1, as: UInt32.self)
            else { break }
            guard "HPKvatmX".utf8.contains(kind) else { throw RecordError.unknownKind(kind, offset: offset) }
            guard reader.readableBytes >= 5 + Int(length) else { break }
            reader.moveReaderIndex(forwardBy: 5)
            guard var payload = reader.readSlice(length: Int(length)), let number = payload.readInteger(as: Int64.self)
            else { throw RecordError.cutOff(offset: offset) }
            let expected = UInt8(truncatingIfNeeded: number &* 31)
            guard payload.readableBytesView.allSatisfy({ $0 == expected }) else {
                throw RecordError.wrongFiller(number: number, offset: offset)
            }
            records.append(Record(kind: Character(UnicodeScalar(kind)), number: number))
        }
        return (records, reader.readableBytes)
    }
}

struct RecordEncoder: RenditionEncoder {
    func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {
        buffer.writeRecord("H", .payload(number: 0, filler: 3))
    }

    func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {
        buffer.writeRecord("P", .payload(number: time.millis, filler: 2))
    }

    mutating func write(
        _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
    ) {
        switch event {
        case .frame(let frame):
            buffer.writeRecord(frame.kind == .audio ? "a" : frame.isKeyframe ? "K" : "v", frame.payload)
        case .track: buffer.writeRecord("t", .payload(number: 0, filler: 0))
        case .metadata: buffer.writeRecord("m", .payload(number: 0, filler: 0))
        case .data: break
        }
    }
}

/// Keeps the frames that a rendition is given.
final class FrameLog: Sendable {
    private let log = Mutex<[Frame]>([])

    var frames: [Frame] { self.log.withLock { $0 } }

    struct Encoder: RenditionEncoder {
        let owner: FrameLog

        func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {}
        func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {}
        mutating func write(
            _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
        ) {
            if case .frame(let frame) = event { self.owner.log.withLock { $0.append(frame) } }
        }
    }
}

final class TestPublisher: Publisher {
    private let log = Mutex<[PublishEnd]>([])
    private let requests = Atomic<Int>(0)

    var revocations: [PublishEnd] { self.log.withLock { $0 } }
    /// Keyframes that it was asked for.
    var keyframeRequests: Int { self.requests.load(ordering: .acquiring) }

    func publishingRevoked(_ reason: PublishEnd) { self.log.withLock { $0.append(reason) } }

    func keyframeRequested() { self.requests.wrappingAdd(1, ordering: .acquiringAndReleasing) }
}

/// The far end of a viewer's connection, read when the test says so.
final class FarEnd {
    private var descriptor: CInt
    private var unparsed = ByteBuffer()
    private(set) var records: [Record] = []
    private(set) var byteCount = 0

    init(descriptor: CInt) { self.descriptor = descriptor }

    deinit { self.hangUp() }

    /// Closes the connection.
    func hangUp() {
        if self.descriptor >= 0 { close(self.descriptor) }
        self.descriptor = -1
    }

    /// Reads what is there, at most `limit` bytes, and checks it. Returns how many bytes came.
    @discardableResult
    func read(limit: Int = 1 << 20) throws -> Int {
        var total = 0
        while total < limit {
            let wanted = min(limit - total, 65_536)
            let count = unsafe self.unparsed.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { region in
                // Safety: the region is at least as long as the length that is given.
                unsafe max(0, recv(self.descriptor, region.baseAddress, wanted, CInt(MSG_DONTWAIT)))
            }
            guard count > 0 else { break }
            total += count
        }
        self.byteCount += total
        if total > 0 {
            let (more, rest) = try self.unparsed.records()
            self.records += more
            self.unparsed.moveReaderIndex(forwardBy: self.unparsed.readableBytes - rest)
            self.unparsed.discardReadBytes()
        }
        return total
    }

    /// Bytes of a record that is not whole yet.
    var openBytes: Int { self.unparsed.readableBytes }

    /// Reads until `condition` holds for the records that came. Fails the test after `limit`.
    func wait(
        atMost chunk: Int = 1 << 20, within limit: Duration = .seconds(20),
        sourceLocation: SourceLocation = #_sourceLocation, until condition: ([Record]) -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + limit
        while true {
            let count = try self.read(limit: chunk)
            if condition(self.records) { return }
            guard ContinuousClock.now < deadline else {
                Issue.record("gave up after \(self.records.suffix(3))", sourceLocation: sourceLocation)
                return
            }
            if count == 0 { try await Task.sleep(for: .milliseconds(1)) }
        }
    }

    /// Reads until a record of frame `number` came.
    func wait(
        forFrame number: Int64, atMost chunk: Int = 1 << 20, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try await self.wait(atMost: chunk, sourceLocation: sourceLocation) { records in
            records.last { "Kva".contains($0.kind) }.map { $0.number >= number } ?? false
        }
    }

    /// Reads for some time, to see that nothing comes.
    func readFor(_ duration: Duration) async throws {
        let end = ContinuousClock.now + duration
        while ContinuousClock.now < end {
            try self.read()
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    /// The numbers of the frames that came.
    var frames: [Int64] { self.records.filter { "Kva".contains($0.kind) }.map(\.number) }
    /// The kinds of the records that came, frames that are not keyframes left out.
    var outline: String { String(self.records.map(\.kind).filter { !"va".contains($0) }) }
}

/// A viewer's connection on the server's side.
final class TestViewer: ChannelInboundHandler, ViewerDelegate, @unchecked Sendable {
    // Safety: everything but `ends` is touched on the channel's loop only.
    typealias InboundIn = ByteBuffer

    private let id: UInt64
    private var viewer: Viewer?
    fileprivate var context: ChannelHandlerContext?
    /// Stays open for as long as this viewer lives.
    private let end: FarEnd
    private let endLog = Mutex<[ViewerEnd]>([])

    init(id: UInt64, end: FarEnd) {
        self.id = id
        self.end = end
    }

    var ends: [ViewerEnd] { self.endLog.withLock { $0 } }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.viewer = Viewer(id: self.id, context: context, writesDirectly: true, delegate: self)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.viewer?.leave()
        context.fireChannelInactive()
    }

    func viewerEnded(_ reason: ViewerEnd) { self.endLog.withLock { $0.append(reason) } }

    /// The viewer. On the channel's loop.
    func onLoop<Value: Sendable>(_ body: @escaping @Sendable (Viewer) -> Value) async throws -> Value {
        let loop = try #require(self.loop.withLock { $0 })
        return try await loop.submit {
            guard let viewer = self.viewer else { throw ChannelError.ioOnClosedChannel }
            return body(viewer)
        }.get()
    }

    let loop = Mutex<(any EventLoop)?>(nil)
}

/// A hub with one stream, two loops, and what tests do with them.
final class Fixture: Sendable {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    let loops: [any EventLoop]
    let hub: StreamHub
    let key: StreamKey

    init(_ settings: LiveStreamSettings = .init()) throws {
        self.loops = Array(self.group.makeIterator())
        self.hub = StreamHub { _ in settings }
        self.key = try StreamKey(app: "live", name: "test")
    }

    var stream: LiveStream { self.hub.stream(self.key, home: self.loops[0]) }

    func close() async throws { try await self.group.shutdownGracefully() }

    /// Runs `body` with a fixture that is taken down afterwards.
    static func run(
        _ settings: LiveStreamSettings = .init(), _ body: (Fixture) async throws -> Void
    ) async throws {
        let fixture = try Fixture(settings)
        do {
            try await body(fixture)
        } catch {
            try? await fixture.close()
            throw error
        }
        try await fixture.close()
    }

    // MARK: Publishing

    @discardableResult
    func publish(
        _ id: UInt64, token: String = "", epoch: UInt64 = 1, continuesClock: Bool = false, hasTracks: Bool = true,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> TestPublisher {
        let stream = self.stream
        let publisher = TestPublisher()
        let isActive = try await stream.home.submit {
            guard stream.claim(.init(id: id, token: token)) == nil else { return false }
            return stream.activate(
                id, publisher: publisher, epoch: epoch, clock: .rtmp, continuesClock: continuesClock)
        }.get()
        #expect(isActive, "the claim was refused", sourceLocation: sourceLocation)
        if hasTracks {
            try await self.send(
                [
                    .track(Track(codec: .h264, configuration: ByteBuffer(bytes: [1]), format: .video(VideoFormat())))
                ], from: id)
        }
        return publisher
    }

    func onHome<Value: Sendable>(_ body: @escaping @Sendable (LiveStream) -> Value) async throws -> Value {
        let stream = self.stream
        return try await stream.home.submit { body(stream) }.get()
    }

    func send(_ events: [MediaEvent], from id: UInt64 = 1) async throws {
        try await self.onHome { $0.receive(events, from: id) }
    }

    /// Frames with these numbers at 25 a second, one batch each; a keyframe every `gop`.
    func sendFrames(_ numbers: Range<Int>, gop: Int = 25, filler: Int = 50, from id: UInt64 = 1) async throws {
        for number in numbers {
            try await self.send([.frame(Self.video(number, isKeyframe: number % gop == 0, filler: filler))], from: id)
        }
    }

    static func video(_ number: Int, isKeyframe: Bool, filler: Int = 50, time: Int64? = nil, offset: Int64 = 0) -> Frame
    {
        let dts = MediaTime(millis: time ?? Int64(number) * 40)
        return Frame(
            codec: .h264, dts: dts, pts: dts + MediaTime(millis: offset), isKeyframe: isKeyframe,
            payload: .payload(number: Int64(number), filler: filler))
    }

    static func audio(_ number: Int, time: Int64) -> Frame {
        let dts = MediaTime(millis: time)
        return Frame(
            codec: .aac, dts: dts, pts: dts, isKeyframe: true, payload: .payload(number: Int64(number), filler: 10))
    }

    // MARK: Viewing

    /// Connects a viewer by a socket pair; `sendBuffer` bytes go into the kernel.
    func connect(on loop: any EventLoop, sendBuffer: CInt = 0) async throws -> (viewer: TestViewer, end: FarEnd) {
        var pair: [CInt] = [-1, -1]
        // Safety: the array holds the two descriptors that the call fills in.
        let status = unsafe pair.withUnsafeMutableBufferPointer {
            unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, $0.baseAddress)
        }
        try #require(status == 0)
        if sendBuffer > 0 {
            var size = sendBuffer
            // Safety: the value lives for the call, and its size is given.
            let result = unsafe setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<CInt>.size))
            try #require(result == 0)
        }
        let end = FarEnd(descriptor: pair[1])
        let viewer = TestViewer(id: self.hub.nextSessionID(), end: end)
        viewer.loop.withLock { $0 = loop }
        _ = try await ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(viewer) }
            }
            .withConnectedSocket(pair[0]).get()
        return (viewer, end)
    }

    func join(
        _ viewer: TestViewer, flush: FlushPolicy,
        encoder: @escaping @Sendable () -> any RenditionEncoder = { RecordEncoder() }
    ) async throws -> Bool {
        let stream = self.stream
        let id = RenditionID(format: "test", flush: flush)
        return try await viewer.onLoop { stream.join($0, rendition: id, encoder: encoder) }.get()
    }

    /// A viewer that has joined.
    func watch(
        on loop: Int = 0, flush: FlushPolicy = .realtime, sendBuffer: CInt = 0,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> (viewer: TestViewer, end: FarEnd) {
        let connection = try await self.connect(on: self.loops[loop], sendBuffer: sendBuffer)
        let isWelcome = try await self.join(connection.viewer, flush: flush)
        #expect(isWelcome, sourceLocation: sourceLocation)
        return connection
    }

    /// Waits until `condition` holds. Fails the test after `limit`.
    static func eventually(
        _ what: String, within limit: Duration = .seconds(10), sourceLocation: SourceLocation = #_sourceLocation,
        _ condition: () async throws -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + limit
        while try await !condition() {
            guard ContinuousClock.now < deadline else {
                Issue.record("not within \(limit): \(what)", sourceLocation: sourceLocation)
                return
            }
            try await Task.sleep(for: .milliseconds(2))
        }
    }
}

/// Writes frames without any header or prelude.
struct BareEncoder: RenditionEncoder {
    func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {}
    func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {}
    mutating func write(
        _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
    ) {
        if case .frame(let frame) = event { buffer.writeRecord(frame.isKeyframe ? "K" : "v", frame.payload) }
    }
}

extension TestViewer {
    /// Writes `X` records to the channel behind the viewer's back, as a protocol does before a stream begins.
    func writeOutside(records: Int) async throws {
        let loop = try #require(self.loop.withLock { $0 })
        try await loop.submit {
            for _ in 0..<records {
                var bytes = ByteBuffer()
                bytes.writeRecord("X", .payload(number: 1, filler: 1_000))
                self.context?.write(NIOAny(bytes), promise: nil)
            }
            self.context?.flush()
        }.get()
    }
}

/// A list that several loops may append to.
final class FixtureLog<Value: Sendable>: Sendable {
    private let log = Mutex<[Value]>([])

    var values: [Value] { self.log.withLock { $0 } }

    func append(_ value: Value) { self.log.withLock { $0.append(value) } }
}
