package import NIOCore

/// Deals the packets of a transport stream with several programs out to one stream for each of them.
///
/// Feed whole packets; what comes back holds, for each program that packets were for, those packets in order: the
/// association, the program's map, its clock and its streams. Each is read by a demuxer that is told the program's number.
/// Packets that belong to no program that is known are left out. Bounded: at most `maximumPrograms`, and the tables.
/// Spec: ISO 13818-1 §2.4.4.
package struct TSProgramSplitter: Sendable {
    /// What a mask has room for.
    package static let maximumPrograms = 64

    private struct Program: Sendable {
        var number: UInt16
        var mapPID: UInt16
        var sections = TSSectionAssembler()
        var continuity = TSContinuity()
        var checksum: UInt32?
        var pids: [UInt16] = []
        /// Packets for it of the call that is running, and the tables before its first other packet.
        var packets = ByteBuffer()
        /// More than tables has come.
        var hasContent = false
    }

    /// Tables of a program that are kept until there is more of it: two of the longest sections.
    private static let maximumHeldBytes = 16 * TS.packetLength

    private var association = TSSectionAssembler()
    private var continuity = TSContinuity()
    private var parts: [UInt8: [TSAssociationSection.Entry]] = [:]
    private var version: UInt8?
    private var lastSectionNumber: UInt8 = 0
    private var checksums: [UInt8: UInt32] = [:]
    private var programs: [Program] = []
    /// By packet identifier: a bit for each program, by its index.
    private var masks = [UInt64](repeating: 0, count: 0x2000)

    package init() {}

    /// The programs that are known, in the order of the association.
    package var programNumbers: [UInt16] { self.programs.map(\.number) }

    /// Takes whole packets of 188 bytes; bytes that are none are left out.
    package mutating func receive(_ bytes: ByteBuffer) -> [(program: UInt16, packets: ByteBuffer)] {
        var rest = bytes
        while let packet = rest.readSlice(length: TS.packetLength) {
            guard let (sync, word) = packet.getMultipleIntegers(at: packet.readerIndex, as: (UInt8, UInt16).self),
                sync == TS.syncByte
            else { continue }
            self.receive(packet, pid: word & 0x1FFF)
        }
        var result: [(program: UInt16, packets: ByteBuffer)] = []
        for index in self.programs.indices where self.programs[index].packets.readableBytes > 0 {
            guard self.programs[index].hasContent else {
                // They come again.
                if self.programs[index].packets.readableBytes > Self.maximumHeldBytes {
                    self.programs[index].packets = ByteBuffer()
                }
                continue
            }
            result.append((self.programs[index].number, self.programs[index].packets))
            self.programs[index].packets = ByteBuffer()
        }
        return result
    }

    private mutating func receive(_ packet: ByteBuffer, pid: UInt16) {
        if pid == TS.tablePID {
            self.receiveAssociation(packet)
            for index in self.programs.indices { self.programs[index].packets.writeImmutableBuffer(packet) }
            return
        }
        for index in self.programs.indices where self.programs[index].mapPID == pid {
            self.receiveMap(packet, index: index)
        }
        var mask = self.masks[Int(pid)]
        while mask != 0 {
            let index = mask.trailingZeroBitCount
            self.programs[index].packets.writeImmutableBuffer(packet)
            if pid != self.programs[index].mapPID { self.programs[index].hasContent = true }
            mask &= mask - 1
        }
    }

    /// The whole sections of a packet that are valid now.
    private static func sections(
        in bytes: ByteBuffer, tableID: UInt8, _ assembler: inout TSSectionAssembler, _ continuity: inout TSContinuity
    ) -> [(bytes: ByteBuffer, header: TSSectionHeader, checksum: UInt32)] {
        guard let packet = try? TSPacket(bytes), let payload = packet.payload, !packet.isScrambled else { return [] }
        switch continuity.receive(packet, payload: payload) {
        case .next: break
        case .duplicate: return []
        case .gap, .announcedGap: assembler.reset()
        }
        return assembler.receive(payload, isStart: packet.isStart).compactMap { result in
            guard case .section(let section) = result, let header = TSSectionHeader(section),
                header.tableID == tableID, header.isCurrent, CRC32MPEG.checksum(of: section) == 0,
                let checksum = section.getInteger(at: section.writerIndex - 4, as: UInt32.self)
            else { return nil }
            return (section, header, checksum)
        }
    }

    private mutating func receiveAssociation(_ packet: ByteBuffer) {
        var hasChanged = false
        let found = Self.sections(in: packet, tableID: 0, &self.association, &self.continuity)
        for (bytes, header, checksum) in found where self.checksums[header.sectionNumber] != checksum {
            guard let section = TSAssociationSection(bytes) else { continue }
            if section.version != self.version || section.lastSectionNumber != self.lastSectionNumber {
                (self.parts, self.checksums) = ([:], [:])
                (self.version, self.lastSectionNumber) = (section.version, section.lastSectionNumber)
            }
            self.parts[section.sectionNumber] = section.programs
            self.checksums[section.sectionNumber] = checksum
            hasChanged = true
        }
        guard hasChanged, self.parts.count == Int(self.lastSectionNumber) + 1 else { return }
        let entries = (0...self.lastSectionNumber).flatMap { self.parts[$0] ?? [] }.prefix(Self.maximumPrograms)
        self.programs = entries.map { entry in
            self.programs.first { $0.number == entry.number && $0.mapPID == entry.mapPID }
                ?? Program(number: entry.number, mapPID: entry.mapPID)
        }
        self.makeMasks()
    }

    private mutating func receiveMap(_ packet: ByteBuffer, index: Int) {
        var program = self.programs[index]
        let found = Self.sections(in: packet, tableID: 2, &program.sections, &program.continuity)
        var hasChanged = false
        for (bytes, header, checksum) in found
        where header.extensionID == program.number && checksum != program.checksum {
            guard let section = TSMapSection(bytes) else { continue }
            program.checksum = checksum
            program.pids = [section.clockPID] + section.streams.map(\.pid)
            hasChanged = true
        }
        self.programs[index] = program
        if hasChanged { self.makeMasks() }
    }

    private mutating func makeMasks() {
        for index in self.masks.indices { self.masks[index] = 0 }
        for (index, program) in self.programs.enumerated() {
            for pid in program.pids + [program.mapPID] where pid != TS.nullPID && pid != TS.tablePID {
                self.masks[Int(pid)] |= 1 << UInt64(index)
            }
        }
    }
}
