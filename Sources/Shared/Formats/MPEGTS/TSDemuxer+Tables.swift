import Media
import NIOCore

extension TSDemuxer {
    /// The association table as far as it came.
    struct AssociationState: Sendable {
        var continuity = TSContinuity()
        var sections = TSSectionAssembler()
        var version: UInt8?
        var lastSectionNumber: UInt8 = 0
        /// By section number, with the checksum.
        var parts: [UInt8: (checksum: UInt32, programs: [TSAssociationSection.Entry])] = [:]
    }

    /// The program that is read.
    struct MapState: Sendable {
        var number: UInt16
        var pid: UInt16
        var continuity = TSContinuity()
        var sections = TSSectionAssembler()
        /// Of the section that is in force: repetitions are recognized by it.
        var checksum: UInt32?
        var program: TSProgram?

        init(number: UInt16, pid: UInt16) {
            self.number = number
            self.pid = pid
        }
    }

    /// Looks at the continuity of a table's packet. Returns whether it is to be read.
    private mutating func admit(
        _ packet: TSPacket, payload: ByteBuffer, position: Int64, continuity: inout TSContinuity,
        sections: inout TSSectionAssembler
    ) -> Bool {
        if packet.isScrambled {
            self.statistics.scrambledPackets += 1
            return false
        }
        switch continuity.receive(packet, payload: payload) {
        case .next: break
        case .duplicate:
            self.statistics.duplicates += 1
            return false
        case .announcedGap: sections.reset()
        case .gap(let expected):
            sections.reset()
            self.statistics.continuityErrors += 1
            self.outputs.append(
                .problem(
                    .continuity(
                        pid: packet.pid, expected: expected, found: packet.continuity, position: position)))
        }
        return true
    }

    /// Checks a section's length and checksum. Returns its header and checksum if it is the table that is in force now.
    private mutating func check(
        _ result: TSSectionAssembler.Result, tableID: UInt8, pid: UInt16, position: Int64
    ) -> (section: ByteBuffer, header: TSSectionHeader, checksum: UInt32)? {
        guard case .section(let section) = result else {
            self.outputs.append(.problem(.malformedSection(pid: pid, position: position)))
            return nil
        }
        // Other tables may share the packet identifier.
        guard section.getInteger(at: section.readerIndex, as: UInt8.self) == tableID else { return nil }
        guard let header = TSSectionHeader(section),
            let checksum = section.getInteger(at: section.writerIndex - 4, as: UInt32.self)
        else {
            self.outputs.append(.problem(.malformedSection(pid: pid, position: position)))
            return nil
        }
        guard CRC32MPEG.checksum(of: section) == 0 else {
            self.outputs.append(.problem(.sectionChecksum(pid: pid, position: position)))
            return nil
        }
        return header.isCurrent ? (section, header, checksum) : nil
    }

    // MARK: Association

    mutating func receiveAssociation(_ packet: TSPacket, payload: ByteBuffer, position: Int64) {
        var state = self.association
        defer { self.association = state }
        guard
            self.admit(
                packet, payload: payload, position: position, continuity: &state.continuity, sections: &state.sections)
        else { return }
        var isChanged = false
        for result in state.sections.receive(payload, isStart: packet.isStart) {
            guard let (bytes, _, checksum) = self.check(result, tableID: 0, pid: packet.pid, position: position) else {
                continue
            }
            guard let section = TSAssociationSection(bytes) else {
                self.outputs.append(.problem(.malformedSection(pid: packet.pid, position: position)))
                continue
            }
            if section.version != state.version || section.lastSectionNumber != state.lastSectionNumber {
                state.parts = [:]
                state.version = section.version
                state.lastSectionNumber = section.lastSectionNumber
            }
            guard state.parts[section.sectionNumber]?.checksum != checksum else { continue }
            var programs = section.programs
            let others = state.parts.filter { $0.key != section.sectionNumber }.reduce(0) {
                $0 + $1.value.programs.count
            }
            let maximum = self.configuration.maximumPrograms
            if others + programs.count > maximum {
                self.outputs.append(
                    .problem(
                        .tooManyEntries(
                            pid: packet.pid, count: others + programs.count, maximum: maximum, position: position)))
                programs.removeLast(min(programs.count, others + programs.count - maximum))
            }
            state.parts[section.sectionNumber] = (checksum, programs)
            isChanged = true
        }
        guard isChanged, state.parts.count == Int(state.lastSectionNumber) + 1 else { return }
        self.choose(from: (0...state.lastSectionNumber).flatMap { state.parts[$0]?.programs ?? [] })
    }

    private mutating func choose(from programs: [TSAssociationSection.Entry]) {
        let chosen: TSAssociationSection.Entry?
        if let number = self.configuration.programNumber {
            chosen = programs.first { $0.number == number }
        } else {
            // A program that is being read stays while it is listed.
            chosen = programs.first { $0.number == self.map?.number } ?? programs.first
        }
        guard chosen?.number != self.map?.number || chosen?.mapPID != self.map?.pid else { return }
        self.replaceReaders(with: [])
        self.map = chosen.map { MapState(number: $0.number, pid: $0.mapPID) }
    }

    // MARK: Map

    mutating func receiveMap(_ packet: TSPacket, payload: ByteBuffer, position: Int64) {
        guard var state = self.map else { return }
        defer { self.map = state }
        guard
            self.admit(
                packet, payload: payload, position: position, continuity: &state.continuity, sections: &state.sections)
        else { return }
        for result in state.sections.receive(payload, isStart: packet.isStart) {
            guard let (bytes, header, checksum) = self.check(result, tableID: 2, pid: packet.pid, position: position),
                header.extensionID == state.number, checksum != state.checksum
            else { continue }
            guard let section = TSMapSection(bytes) else {
                self.outputs.append(.problem(.malformedSection(pid: packet.pid, position: position)))
                continue
            }
            state.checksum = checksum
            state.program = self.apply(section, mapPID: packet.pid, position: position)
        }
    }

    private mutating func apply(_ section: TSMapSection, mapPID: UInt16, position: Int64) -> TSProgram {
        var streams = section.streams
        let maximum = self.configuration.maximumStreams
        if streams.count > maximum {
            self.outputs.append(
                .problem(
                    .tooManyEntries(pid: mapPID, count: streams.count, maximum: maximum, position: position)))
            streams.removeLast(streams.count - maximum)
        }
        self.select(in: &streams)
        let program = TSProgram(
            number: section.programNumber, mapPID: mapPID, clockPID: section.clockPID, version: section.version,
            streams: streams)
        self.replaceReaders(with: streams.filter(\.isSelected))
        self.outputs.append(.program(program))
        return program
    }

    private func select(in streams: inout [TSProgram.Stream]) {
        func isMedia(_ stream: TSProgram.Stream, _ kind: MediaKind) -> Bool {
            stream.content.codec?.kind == kind
        }
        let video = streams.firstIndex { isMedia($0, .video) }
        let firstAudio = streams.firstIndex { isMedia($0, .audio) }
        let audio: Int? =
            switch self.configuration.audio {
            case .first: firstAudio
            case .pid(let pid): streams.firstIndex { isMedia($0, .audio) && $0.pid == pid } ?? firstAudio
            case .language(let name): streams.firstIndex { isMedia($0, .audio) && $0.language == name } ?? firstAudio
            }
        for index in streams.indices {
            streams[index].isSelected = index == video || index == audio || streams[index].content == .id3
        }
    }

    /// Streams that stay what they are keep their state; the others end.
    private mutating func replaceReaders(with streams: [TSProgram.Stream]) {
        var kept: [TSStreamReader] = []
        for stream in streams where !kept.contains(where: { $0.pid == stream.pid }) {
            if let index = self.readers.firstIndex(where: { $0.pid == stream.pid && $0.content == stream.content }) {
                kept.append(self.readers.remove(at: index))
            } else {
                kept.append(
                    TSStreamReader(
                        pid: stream.pid, content: stream.content,
                        maximumLength: self.configuration.maximumAccessUnitLength)
                )
            }
        }
        for index in self.readers.indices { self.readers[index].finish(into: &self.outputs) }
        self.readers = kept
    }
}
