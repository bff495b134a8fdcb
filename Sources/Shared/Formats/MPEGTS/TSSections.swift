import Media
import NIOCore

/// Puts the sections of one packet identifier together. Spec: ISO 13818-1 §2.4.4.
struct TSSectionAssembler: Sendable {
    enum Result: Equatable {
        case section(ByteBuffer)
        /// The section's length is impossible; the rest up to the next start was dropped.
        case malformed
    }

    /// `nil` while no section has begun.
    private var pending: ByteBuffer?

    /// Takes a packet's payload. Returns the sections that are complete with it.
    mutating func receive(_ payload: ByteBuffer, isStart: Bool) -> [Result] {
        var results: [Result] = []
        var payload = payload
        if isStart {
            guard let pointer = payload.readInteger(as: UInt8.self), let end = payload.readSlice(length: Int(pointer))
            else {
                self.pending = nil
                return [.malformed]
            }
            if self.pending != nil {
                self.pending?.writeImmutableBuffer(end)
                self.takeSections(into: &results)
            }
            self.pending = payload
        } else {
            guard self.pending != nil else { return [] }
            self.pending?.writeImmutableBuffer(payload)
        }
        self.takeSections(into: &results)
        return results
    }

    mutating func reset() { self.pending = nil }

    private mutating func takeSections(into results: inout [Result]) {
        while let (tableID, flags) = self.pending?.getMultipleIntegers(
            at: self.pending?.readerIndex ?? 0, as: (UInt8, UInt16).self)
        {
            // 0xFF is stuffing up to the packet's end.
            guard tableID != 0xFF else { return self.pending = nil }
            let length = 3 + Int(flags & 0x0FFF)
            guard length <= TS.maximumSectionLength else {
                results.append(.malformed)
                return self.pending = nil
            }
            guard let section = self.pending?.readSlice(length: length) else { return }
            results.append(.section(section))
        }
        // Fewer than three bytes: stuffing, or the start of a header.
        if let first = self.pending?.readableBytesView.first, first == 0xFF { self.pending = nil }
        if self.pending?.readableBytes == 0 { self.pending = nil }
    }
}

/// A section of a program association. Spec: ISO 13818-1 §2.4.4.3.
struct TSAssociationSection: Equatable {
    struct Entry: Equatable {
        var number: UInt16
        var mapPID: UInt16
    }

    var version: UInt8
    var sectionNumber: UInt8
    var lastSectionNumber: UInt8
    /// Without the network's entry.
    var programs: [Entry]

    /// Reads a section whose checksum fits. `nil` when it is malformed.
    init?(_ section: ByteBuffer) {
        guard var body = TSSectionHeader(section) else { return nil }
        self.version = body.version
        self.sectionNumber = body.sectionNumber
        self.lastSectionNumber = body.lastSectionNumber
        self.programs = []
        guard self.sectionNumber <= self.lastSectionNumber, body.content.readableBytes % 4 == 0 else { return nil }
        while let (number, pid) = body.content.readMultipleIntegers(as: (UInt16, UInt16).self) {
            if number != 0 { self.programs.append(Entry(number: number, mapPID: pid & 0x1FFF)) }
        }
    }
}

/// The section of a program map. Spec: ISO 13818-1 §2.4.4.8.
struct TSMapSection: Equatable {
    var programNumber: UInt16
    var version: UInt8
    var clockPID: UInt16
    var streams: [TSProgram.Stream]

    /// Reads a section whose checksum fits. `nil` when it is malformed.
    init?(_ section: ByteBuffer) {
        guard var body = TSSectionHeader(section),
            let (clockPID, infoLength) = body.content.readMultipleIntegers(as: (UInt16, UInt16).self),
            body.content.readSlice(length: Int(infoLength & 0x0FFF)) != nil
        else { return nil }
        self.programNumber = body.extensionID
        self.version = body.version
        self.clockPID = clockPID & 0x1FFF
        self.streams = []
        while body.content.readableBytes > 0 {
            guard let (type, pid, length) = body.content.readMultipleIntegers(as: (UInt8, UInt16, UInt16).self),
                let descriptors = body.content.readSlice(length: Int(length & 0x0FFF))
            else { return nil }
            let list = TSDescriptors(descriptors)
            self.streams.append(
                .init(
                    pid: pid & 0x1FFF, streamType: type, content: list.content(ofType: type), language: list.language))
        }
    }
}

/// The fields that all sections in the long form have, and what is between them and the checksum.
struct TSSectionHeader {
    var tableID: UInt8
    var extensionID: UInt16
    var version: UInt8
    var isCurrent: Bool
    var sectionNumber: UInt8
    var lastSectionNumber: UInt8
    var content: ByteBuffer

    init?(_ section: ByteBuffer) {
        var section = section
        guard let (tableID, flags) = section.readMultipleIntegers(as: (UInt8, UInt16).self), flags & 0x8000 != 0,
            section.readableBytes >= 9,
            let (extensionID, version, number, last) = section.readMultipleIntegers(
                as: (UInt16, UInt8, UInt8, UInt8).self),
            let content = section.readSlice(length: section.readableBytes - 4)
        else { return nil }
        self.tableID = tableID
        self.extensionID = extensionID
        self.version = version >> 1 & 31
        self.isCurrent = version & 1 == 1
        self.sectionNumber = number
        self.lastSectionNumber = last
        self.content = content
    }
}

/// What the descriptors of a stream say of it. Descriptors that are cut off end the list.
struct TSDescriptors {
    private(set) var language: String?
    private(set) var registration: UInt32?
    private(set) var metadataFormat: UInt32?
    private(set) var opusChannelCode: UInt8?
    private var hasAC3 = false
    private var hasEAC3 = false

    init(_ bytes: ByteBuffer) {
        var bytes = bytes
        while let (tag, length) = bytes.readMultipleIntegers(as: (UInt8, UInt8).self),
            var content = bytes.readSlice(length: Int(length))
        {
            switch tag {
            case TSDescriptor.registration: self.registration = content.readInteger(as: UInt32.self)
            case TSDescriptor.language:
                self.language = content.readString(length: 3)
            case TSDescriptor.metadata:
                // metadata_application_format, its identifier when that is 0xFFFF, metadata_format and its own.
                guard let application = content.readInteger(as: UInt16.self) else { break }
                if application == 0xFFFF { content.moveReaderIndex(forwardBy: min(4, content.readableBytes)) }
                if content.readInteger(as: UInt8.self) == 0xFF {
                    self.metadataFormat = content.readInteger(as: UInt32.self)
                }
            case TSDescriptor.dvbAC3: self.hasAC3 = true
            case TSDescriptor.dvbEAC3: self.hasEAC3 = true
            case TSDescriptor.dvbExtension:
                guard content.readInteger(as: UInt8.self) == TSDescriptor.opusExtension else { break }
                self.opusChannelCode = content.readInteger(as: UInt8.self)
            default: break
            }
        }
    }

    func content(ofType type: UInt8) -> TSProgram.Content {
        switch type {
        case TSStreamType.mpeg1Audio, TSStreamType.mpeg2Audio: return .media(.mp3)
        case TSStreamType.adts: return .media(.aac)
        case TSStreamType.latm: return .latm
        case TSStreamType.h264: return .media(.h264)
        case TSStreamType.hevc: return .media(.hevc)
        case TSStreamType.ac3: return .media(.ac3)
        case TSStreamType.eac3: return .media(.eac3)
        case TSStreamType.metadataPES:
            return self.metadataFormat == TSIdentifier.id3 || self.registration == TSIdentifier.id3
                ? .id3 : .unsupported
        case TSStreamType.privatePES: return self.privateContent
        default: return .unsupported
        }
    }

    private var privateContent: TSProgram.Content {
        switch self.registration {
        case TSIdentifier.opus: return .opus(channelCode: self.opusChannelCode)
        case TSIdentifier.ac3: return .media(.ac3)
        case TSIdentifier.eac3: return .media(.eac3)
        case TSIdentifier.hevc: return .media(.hevc)
        default: break
        }
        if self.hasEAC3 { return .media(.eac3) }
        return self.hasAC3 ? .media(.ac3) : .unsupported
    }
}
