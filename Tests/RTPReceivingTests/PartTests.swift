import Media
import NIOCore
import RTP
import Testing

@testable import RTPReceiving

@Suite struct PacketBufferTests {
    private func packet(_ number: Int64) -> BufferedPacket {
        BufferedPacket(
            payload: ByteBuffer(integer: number), payloadType: 96, marker: false,
            timestamp: UInt32(truncatingIfNeeded: number), arrival: arrival(0))
    }

    @Test(arguments: 0..<20 as Range<UInt64>) func anyOrderComesOutInOrder(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let start = Int64.random(in: 65_000...66_000, using: &random)
        var buffer = PacketBuffer(next: start, maximumPackets: 512, maximumBytes: 1 << 20)
        var out: [UInt32] = []
        for block in 0..<20 {
            let first = start + Int64(block) * 100
            for number in (first..<first + 100).shuffled(using: &random) {
                #expect(!buffer.isKnown(number))
                buffer.insert(self.packet(number), number: number)
                #expect(buffer.isKnown(number))
                while let packet = buffer.popNext() { out.append(packet.timestamp) }
            }
        }
        #expect(out == (start..<start + 2_000).map { UInt32($0) })
        #expect(buffer.isEmpty)
        #expect(buffer.bytes == 0)
    }

    @Test func aGapIsSkippedToTheNextPacketThatIsHere() {
        var buffer = PacketBuffer(next: 10, maximumPackets: 64, maximumBytes: 1 << 20)
        buffer.insert(self.packet(40), number: 40)
        buffer.insert(self.packet(13), number: 13)
        #expect(buffer.popNext() == nil)
        #expect(buffer.skipGap() == 3)
        #expect(buffer.popNext()?.timestamp == 13)
        #expect(buffer.popNext() == nil)
        #expect(buffer.skipGap() == 26)
        #expect(buffer.popNext()?.timestamp == 40)
        #expect(buffer.skipGap() == 0)
        #expect(buffer.isKnown(39))
        #expect(!buffer.fits(41 + 64))
        #expect(buffer.fits(41 + 63))
    }
}

@Suite struct LossTrackerTests {
    @Test func requestsAreRepeatedUntilThePacketComes() {
        var losses = LossTracker(capacity: 16)
        losses.missed(5..<7, now: arrival(0))
        #expect(losses.takeDue(now: arrival(0), limit: 10) == [])
        #expect(losses.nextDue == arrival(5))
        #expect(losses.takeDue(now: arrival(5), limit: 10) == [5, 6])
        #expect(losses.takeDue(now: arrival(6), limit: 10) == [])
        #expect(losses.arrived(5, isAnswer: true, now: arrival(45)) == true)
        #expect(losses.roundTrip == .milliseconds(40))
        #expect(losses.nextDue == arrival(55))
        #expect(losses.takeDue(now: arrival(55), limit: 10) == [6])
        #expect(losses.noticed(6) == arrival(0))
        losses.forget(before: 7)
        #expect(losses.count == 0)
        #expect(losses.recovered == 1)
        #expect(losses.requested == 3)
    }

    @Test func aPacketThatWasOnlyOvertakenTeachesToWait() {
        var losses = LossTracker(capacity: 16)
        for round in 0..<20 {
            let start = Int64(round) * 1_000
            losses.missed(Int64(round)..<Int64(round) + 1, now: arrival(start))
            #expect(losses.arrived(Int64(round), isAnswer: false, now: arrival(start + 30)) == false)
        }
        losses.missed(100..<101, now: arrival(50_000))
        #expect(losses.takeDue(now: arrival(50_025), limit: 10) == [])
        #expect(losses.takeDue(now: arrival(50_033), limit: 10) == [100])
    }

    @Test func whereAnswersLookLikeAnyPacketTheRoundTripTellsThem() {
        var losses = LossTracker(capacity: 16)
        func lose(_ number: Int64, backAfter millis: Int64, at start: Int64) -> Bool {
            losses.missed(number..<number + 1, now: arrival(start))
            let asked = losses.nextDue ?? arrival(start)
            #expect(losses.takeDue(now: asked, limit: 10).count == 1)
            return losses.arrived(number, isAnswer: false, now: asked + .milliseconds(millis))
        }
        // A near sender answers within milliseconds: that does not make the first request wait longer.
        for number in 0..<20 as Range<Int64> { #expect(lose(number, backAfter: 6, at: number * 1_000) == true) }
        #expect(losses.roundTrip == .milliseconds(6))
        losses.missed(30..<31, now: arrival(50_000))
        #expect(losses.nextDue == arrival(50_005))
        losses.forgetAll()
        // What comes too soon to be an answer was overtaken.
        for number in 40..<80 as Range<Int64> { _ = lose(number, backAfter: 80, at: 60_000 + number * 1_000) }
        #expect(lose(90, backAfter: 20, at: 200_000) == false)
    }

    @Test func aRoundTripThatWasTakenForTooShortIsFoundOut() {
        var losses = LossTracker(capacity: 16)
        losses.measure(roundTrip: .milliseconds(10))
        for number in 0..<60 as Range<Int64> {
            let start = number * 1_000
            losses.missed(number..<number + 1, now: arrival(start))
            for millis in 5..<155 as Range<Int64> { _ = losses.takeDue(now: arrival(start + millis), limit: 10) }
            #expect(losses.arrived(number, isAnswer: true, now: arrival(start + 155)) == true)
        }
        let found = losses.roundTrip ?? .zero
        #expect(found > .milliseconds(120))
        #expect(found <= .milliseconds(150))
    }

    @Test func whatExceedsTheCapacityIsForgotten() {
        var losses = LossTracker(capacity: 16)
        losses.missed(0..<10, now: arrival(0))
        losses.missed(20..<1_000_000, now: arrival(1))
        #expect(losses.count == 16)
        #expect(losses.noticed(5) == nil)
        #expect(losses.noticed(999_999) == arrival(1))
        #expect(losses.takeDue(now: arrival(100), limit: 5).count == 5)
    }

    @Test func aPacketIsAskedForABoundedNumberOfTimes() {
        var losses = LossTracker(capacity: 16)
        losses.missed(1..<2, now: arrival(0))
        var requests = 0
        for millis in 0..<10_000 as Range<Int64> {
            requests += losses.takeDue(now: arrival(millis), limit: 10).count
        }
        #expect(requests == 12)
        #expect(losses.nextDue == nil)
    }
}

@Suite struct ReceptionCounterTests {
    @Test func lossAndWrapsAreReported() {
        var counter = ReceptionCounter(first: 65_530, clockRate: 90_000, arrival: arrival(0))
        for number in 65_530..<65_550 as Range<Int64> where number % 4 != 0 {
            counter.receive(number, timestamp: 0, arrival: arrival(0), isOriginal: true)
        }
        let report = counter.report()
        #expect(report.highestSequence == 1 << 16 + 13)
        #expect(report.cumulativeLost == 5)
        #expect(report.fractionLost == 64)
        #expect(counter.report().fractionLost == 0)
        counter.receive(65_550, timestamp: 0, arrival: arrival(0), isOriginal: true)
        #expect(counter.report().fractionLost == 0)
        #expect(counter.lost == 5)
    }

    @Test func jitterSettlesAtTheMeanDeviation() {
        var counter = ReceptionCounter(first: 0, clockRate: 90_000, arrival: arrival(0))
        // Every other packet is 10 ms late; the timestamp wraps on the way.
        for index in 0..<2_000 as Range<Int64> {
            counter.receive(
                index, timestamp: UInt32(truncatingIfNeeded: Int64(UInt32.max) - 900_000 + index * 1_800),
                arrival: arrival(index * 20 + index % 2 * 10), isOriginal: true)
        }
        #expect(abs(counter.jitter - 900) <= 2)
        #expect(abs(counter.jitterTime.nanoseconds - 10_000_000) < 100_000)
    }

    @Test func theRateIsThatOfTheLastSecond() {
        var meter = RateMeter()
        for millis in 0..<5_000 as Range<Int64> { meter.add(125, now: arrival(millis)) }
        #expect(abs(meter.bitsPerSecond - 1_000_000) < 20_000)
        meter.advance(now: arrival(9_000))
        meter.advance(now: arrival(9_600))
        #expect(meter.bitsPerSecond == 0)
    }
}

@Suite struct DecodeTimesTests {
    @Test func framesInOrderAreDecodedWhenTheyArePresented() {
        var times = DecodeTimes(depth: 0)
        for index in 0..<100 as Range<Int64> {
            let (dts, pts) = times.place(index * 3_000, isKeyframe: index % 30 == 0, mayReorder: true)
            #expect(dts == pts)
            #expect(pts == index * 3_000)
        }
    }

    @Test(arguments: [0, 2, 3]) func bidirectionalFramesGetAscendingTimes(depth: Int) {
        var times = DecodeTimes(depth: depth)
        // I P b b as of x264 with two B-frames that are references of each other.
        let order: [Int64] = [0, 4, 2, 1, 3]
        var last = Int64.min
        var raised = 0
        for gop in 0..<20 as Range<Int64> {
            for (index, position) in order.enumerated() {
                let wanted = 90_000 + (gop * 5 + position) * 3_000
                let (dts, pts) = times.place(wanted, isKeyframe: index == 0 && gop == 0, mayReorder: true)
                #expect(dts > last)
                #expect(dts <= pts)
                #expect(pts >= wanted)
                if pts != wanted { raised += 1 }
                if gop > 2 { #expect(pts == wanted) }
                // Decoding does not fall behind by more than the reordering.
                if gop > 2 { #expect(pts - dts <= 6 * 3_000) }
                last = dts
            }
        }
        #expect(raised <= (depth == 0 ? 3 : 0))
    }

    @Test func aClockThatIsSetBackIsNoReordering() {
        var times = DecodeTimes(depth: 0)
        _ = times.place(1_000_000, isKeyframe: true, mayReorder: true)
        #expect(times.place(500_000, isKeyframe: false, mayReorder: true) == (1_000_001, 1_000_001))
        #expect(times.place(1_000_500, isKeyframe: false, mayReorder: true) == (1_000_500, 1_000_500))
        #expect(times.place(1_000_400, isKeyframe: false, mayReorder: false) == (1_000_501, 1_000_501))
        times.sourceChanged()
        #expect(times.place(1_000_300, isKeyframe: true, mayReorder: true) == (1_000_502, 1_000_502))
    }
}

@Suite struct ArrivalRecorderTests {
    @Test func eachNumberIsToldOnceAndGapsBelongToTheLaterRound() throws {
        var recorder = ArrivalRecorder()
        #expect(recorder.take() == nil)
        for number in [65_534, 65_535, 1] as [UInt16] { recorder.record(number, arrival: arrival(1)) }
        let first = recorder.take()
        var window = try #require(first)
        #expect(window.missingInFront == 0)
        #expect(window.arrivals.map(\.sequenceNumber) == [65_534, 65_535, 65_537])
        #expect(recorder.take() == nil)
        recorder.record(5, arrival: arrival(2))
        let second = recorder.take()
        window = try #require(second)
        #expect(window.missingInFront == 3)
        #expect(window.arrivals.map(\.sequenceNumber) == [65_541])
    }

    @Test func aPacketAfterItsRoundIsToldLater() throws {
        var recorder = ArrivalRecorder()
        recorder.record(10, arrival: arrival(1))
        recorder.record(12, arrival: arrival(1))
        _ = recorder.take()
        recorder.record(11, arrival: arrival(2))
        recorder.record(11, arrival: arrival(3))
        let later = recorder.take()
        let window = try #require(later)
        #expect(window.arrivals.map(\.sequenceNumber) == [11, 12])
        #expect(window.arrivals[0].micros == Int64(arrival(2).uptimeNanoseconds / 1_000))
    }

    @Test func giantGapsAndNewCountsAreBounded() throws {
        var recorder = ArrivalRecorder()
        recorder.record(0, arrival: arrival(1))
        recorder.record(30_000, arrival: arrival(1))
        let newest = recorder.take()
        let window = try #require(newest)
        #expect(window.arrivals.map(\.sequenceNumber) == [30_000])
        #expect(window.missingInFront <= 1_024)
        // The sender starts over: after a while it is believed.
        for number in 20_000..<20_100 as Range<UInt16> { recorder.record(number, arrival: arrival(2)) }
        let restarted = recorder.take()
        #expect(restarted.map { $0.arrivals.count > 40 } == true)
    }
}

@Suite struct KeyframeRequesterTests {
    @Test func requestsAreRepeatedAtGrowingDistanceUntilAKeyframeComes() {
        var requester = KeyframeRequester(settings: .init(), isVideo: true, now: arrival(0))
        var times: [Int64] = []
        for millis in 0..<10_000 as Range<Int64>
        where requester.takeDue(now: arrival(millis), lastPacket: arrival(millis), roundTrip: .milliseconds(50)) {
            times.append(millis)
        }
        #expect(times.prefix(4) == [500, 900, 1_300, 1_700])
        #expect(times.last.map { $0 > 8_000 } == true)
        #expect(times.count < 14)
        requester.satisfied(now: arrival(10_000))
        #expect(!requester.isNeeded)
        #expect(requester.nextDeadline == nil)
        requester.hurry(now: arrival(20_000))
        #expect(requester.nextDeadline == arrival(20_000))
    }

    @Test func aSilentSourceIsNotAsked() {
        var requester = KeyframeRequester(settings: .init(), isVideo: true, now: arrival(0))
        #expect(requester.takeDue(now: arrival(9_000), lastPacket: arrival(0), roundTrip: .zero) == false)
        #expect(requester.nextDeadline == arrival(10_000))
        #expect(requester.takeDue(now: arrival(10_000), lastPacket: arrival(9_990), roundTrip: .zero) == true)
    }

    @Test func keyframesAreAskedForPeriodicallyIfTheSettingsSaySo() {
        var requester = KeyframeRequester(
            settings: .init(keyframeInterval: .seconds(2)), isVideo: true, now: arrival(0))
        requester.satisfied(now: arrival(100))
        #expect(requester.nextDeadline == arrival(2_100))
        let sound = KeyframeRequester(settings: .init(keyframeInterval: .seconds(2)), isVideo: false, now: arrival(0))
        #expect(sound.nextDeadline == nil)
        #expect(!sound.isNeeded)
    }
}
