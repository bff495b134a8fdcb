/// Gives samples their times, from the times that the source states for its frames and from the count of samples.
///
/// Source times are rounded, often to milliseconds, and jitter; the count is exact, but its clock is not the source's. So
/// the count is followed, and pulled toward the source's times slowly, which nobody hears. What cannot be pulled is a
/// piece that is missing or too much: it is filled with silence or left out. A hole starts the count anew.
///
/// Positions count samples of one channel from 0, times are ticks of 90 kHz.
struct SampleClock {
    enum Placement: Equatable {
        /// The samples follow those before.
        case follow
        /// So many samples are missing in front.
        case pad(Int)
        /// So many samples too many came.
        case drop(Int)
        /// The source had a hole, or this is the first: begin anew at position 0.
        case restart
    }

    /// Deviations up to this are pulled in.
    static let tolerance: Int64 = 1_800
    /// A deviation up to this must be seen `patience` times before it counts.
    static let jitter: Int64 = 5_400
    static let patience = 4
    /// A step forward by more than this is a hole.
    static let hole: Int64 = 9_000
    /// The mean deviation that begins a pull, the one that ends it, and how far each frame pulls.
    private static let pullBegins = 450.0
    private static let pullEnds = 45.0
    private static let pullStep: Int64 = 9
    private static let ticksPerSecond: Int64 = 90_000

    private let rate: Int64
    /// The time of position 0.
    private var origin: Int64?
    private var mean = 0.0
    private var isPulling = false
    /// How often in a row the source was off by more than the tolerance to one side, and by how much at least.
    private var outliers = (count: 0, least: Int64(0))

    /// `rate`: samples per second, positive.
    init(rate: Int) {
        precondition(rate > 0, "a sample rate is positive, got \(rate)")
        self.rate = Int64(rate)
    }

    /// The time of a position.
    func ticks(of position: Int64) -> Int64 {
        (self.origin ?? 0) + self.scaled(position, by: Self.ticksPerSecond, over: self.rate)
    }

    /// The source says that the sample which would come at `position` belongs at `ticks`.
    mutating func place(ticks: Int64, at position: Int64) -> Placement {
        guard self.origin != nil else {
            self.restart(at: ticks)
            return .restart
        }
        let deviation = ticks - self.ticks(of: position)
        if deviation > Self.hole {
            self.restart(at: ticks)
            return .restart
        }
        guard abs(deviation) > Self.tolerance else {
            self.outliers = (0, 0)
            self.pull(deviation)
            return .follow
        }
        guard abs(deviation) <= Self.jitter else { return self.correct(deviation) }
        let isSameSide = self.outliers.count > 0 && (self.outliers.least > 0) == (deviation > 0)
        let least = isSameSide && abs(self.outliers.least) < abs(deviation) ? self.outliers.least : deviation
        self.outliers = (isSameSide ? self.outliers.count + 1 : 1, least)
        return self.outliers.count < Self.patience ? .follow : self.correct(least)
    }

    private mutating func correct(_ deviation: Int64) -> Placement {
        self.outliers = (0, 0)
        self.mean = 0
        self.isPulling = false
        let samples = Int(self.scaled(abs(deviation), by: self.rate, over: Self.ticksPerSecond))
        return deviation > 0 ? .pad(samples) : .drop(samples)
    }

    private mutating func pull(_ deviation: Int64) {
        self.mean += (Double(deviation) - self.mean) / 16
        self.isPulling = abs(self.mean) > (self.isPulling ? Self.pullEnds : Self.pullBegins)
        guard self.isPulling else { return }
        let step = self.mean > 0 ? Self.pullStep : -Self.pullStep
        self.origin = self.origin.map { $0 + step }
        self.mean -= Double(step)
    }

    private mutating func restart(at ticks: Int64) {
        self.origin = ticks
        self.mean = 0
        self.isPulling = false
        self.outliers = (0, 0)
    }

    /// `value · numerator / denominator`, to the nearest, without an overflow for thousands of years.
    private func scaled(_ value: Int64, by numerator: Int64, over denominator: Int64) -> Int64 {
        let (whole, rest) = value.quotientAndRemainder(dividingBy: denominator)
        return whole * numerator + (rest * numerator + (rest < 0 ? -denominator : denominator) / 2) / denominator
    }
}
