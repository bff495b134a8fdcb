/// Which of the latest `64 * words` indices were received. Spec: RFC 3711 §3.3.2.
struct ReplayWindow<let words: Int> {
    /// The highest index received.
    private(set) var highest: UInt64
    /// A bit for each index, at the index modulo the number of bits.
    private var bits: InlineArray<words, UInt64>

    static var length: UInt64 { 64 * UInt64(words) }

    /// Begins with the first index received.
    init(first: UInt64) {
        self.highest = first
        self.bits = InlineArray(repeating: 0)
        self.set(first)
    }

    /// Throws if the index was received, or is too old to know.
    func check(_ index: UInt64) throws(SRTPError) {
        guard index <= self.highest else { return }
        guard self.highest - index < Self.length else { throw .tooOld(index: index, highest: self.highest) }
        let place = Int(index % Self.length)
        guard self.bits[place / 64] >> UInt64(place % 64) & 1 == 0 else { throw .replayed(index: index) }
    }

    /// Notes an index that `check` let pass.
    mutating func insert(_ index: UInt64) {
        if index > self.highest {
            if index - self.highest >= Self.length {
                self.bits = InlineArray(repeating: 0)
            } else {
                var skipped = self.highest + 1
                while skipped < index {
                    self.clear(skipped)
                    skipped += 1
                }
            }
            self.highest = index
        }
        self.set(index)
    }

    private mutating func set(_ index: UInt64) {
        let place = Int(index % Self.length)
        self.bits[place / 64] |= 1 << UInt64(place % 64)
    }

    private mutating func clear(_ index: UInt64) {
        let place = Int(index % Self.length)
        self.bits[place / 64] &= ~(1 << UInt64(place % 64))
    }
}
