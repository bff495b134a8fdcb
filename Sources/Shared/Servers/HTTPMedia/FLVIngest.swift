import AMF
import FLV
import Media
import NIOCore

/// Turns the bytes of an FLV file, as they come in the body of a request, into media events.
///
/// A tag whose body cannot be understood costs itself; too many in a row end the body, and so does a file that is none.
struct FLVIngest {
    /// What was read so far.
    struct Summary: Equatable {
        var bytes = 0
        var tags = 0
        var videoFrames = 0
        var audioFrames = 0
        /// Tags whose body could not be understood.
        var droppedTags = 0
        /// The times of the first and the last frame.
        var firstMillis: Int64?
        var lastMillis: Int64?

        var durationMillis: Int64 { max(0, (self.lastMillis ?? 0) - (self.firstMillis ?? 0)) }
    }

    /// Why nothing more can be read.
    enum Fault: Error, Equatable {
        /// The file itself is broken.
        case file(FLVError)
        /// This many tags in a row could not be understood; the last one because of `last`.
        case media(count: Int, last: FLVError)
    }

    static let maximumConsecutiveErrors = 50

    private var file: FLVFileReader
    private var reader = FLVTrackReader()
    private var consecutiveErrors = 0
    private(set) var summary = Summary()

    /// `maximumTagBytes`: of the largest tag's body.
    init(maximumTagBytes: Int) { self.file = FLVFileReader(maximumBodyLength: maximumTagBytes) }

    /// Bytes of a tag that is not complete.
    var unreadBytes: Int { self.file.bufferedBytes }

    /// The file's header was there.
    var hasHeader: Bool { self.file.declaresAudio != nil }

    /// Takes the next bytes and appends the events that they complete. After an error there are no more; what came before
    /// it was appended.
    mutating func receive(_ bytes: ByteBuffer, into events: inout [MediaEvent]) throws(Fault) {
        self.summary.bytes += bytes.readableBytes
        self.file.receive(bytes)
        while true {
            let tag: FLVTag?
            do throws(FLVError) { tag = try self.file.nextTag() } catch { throw .file(error) }
            guard let tag else { return }
            self.summary.tags += 1
            do throws(FLVError) {
                try self.read(tag, into: &events)
                self.consecutiveErrors = 0
            } catch {
                self.summary.droppedTags += 1
                self.consecutiveErrors += 1
                guard self.consecutiveErrors < Self.maximumConsecutiveErrors else {
                    throw .media(count: self.consecutiveErrors, last: error)
                }
            }
        }
    }

    private mutating func read(_ tag: FLVTag, into events: inout [MediaEvent]) throws(FLVError) {
        let millis = Int64(tag.timestampMillis)
        let result: FLVReadResult
        switch tag.type {
        case .video: result = try self.reader.video(timestampMillis: millis, body: tag.body)
        case .audio: result = try self.reader.audio(timestampMillis: millis, body: tag.body)
        case .script:
            if let event = Self.script(tag.body, at: MediaTime(millis: millis)) { events.append(event) }
            return
        }
        if let track = result.track { events.append(.track(track)) }
        guard let frame = result.frame else { return }
        if frame.kind == .video { self.summary.videoFrames += 1 } else { self.summary.audioFrames += 1 }
        if self.summary.firstMillis == nil { self.summary.firstMillis = millis }
        self.summary.lastMillis = millis
        events.append(.frame(frame))
    }

    /// The event of a script tag; `nil` for one that says nothing to viewers, or cannot be understood. Spec: FLV 10.1
    /// §E.4.4.
    private static func script(_ body: ByteBuffer, at time: MediaTime) -> MediaEvent? {
        var decoder = AMF0Decoder(body)
        guard var name = (try? decoder.next())?.stringValue else { return nil }
        if name == "@setDataFrame" {
            guard let inner = (try? decoder.next())?.stringValue else { return nil }
            name = inner
        }
        if name == "onMetaData" { return (try? decoder.next()).map { .metadata(StreamMetadata(amf: $0)) } }
        let payload = decoder.remaining
        // Read through once, so that what is passed on is known to be within the limits.
        guard (try? decoder.rest()) != nil else { return nil }
        return .data(TimedData(name: name, time: time, payload: payload))
    }
}

extension FLVIngest.Fault {
    /// In words for the client, with where it is.
    var text: String {
        switch self {
        case .file(.notFLV(let offset)): "the body is no FLV file: no signature at byte \(offset)"
        case .file(.tooLong(let length, let maximum, let offset)):
            "the tag at byte \(offset) has \(length) bytes; at most \(maximum) are taken"
        case .file(.encrypted(let offset)): "the tag at byte \(offset) is encrypted"
        case .file(let error): "the FLV file is broken: \(error)"
        case .media(let count, let last): "\(count) tags in a row cannot be understood, the last one: \(last)"
        }
    }

    var isTooLong: Bool { if case .file(.tooLong) = self { true } else { false } }
}
