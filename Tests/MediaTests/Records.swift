import TestSupport

/// Configuration records as ffmpeg 8 with x264, x265, SVT-AV1 and its own AAC encoder writes them.
enum Records {
    /// 322 × 182, High, 25 frames a second.
    static let avcHigh = bytes(
        """
        0164000dffe1001a 6764000dacd941519e226c0440000003004000000c83c50a6580 01 0006 68ebe3cb22c0 fdf8f800
        """)
    /// 1920 × 1080 interlaced, High 4:2:2, 29.97 frames a second.
    static let avcInterlaced = bytes(
        """
        017a0028ffe10019 677a0028bcd94078044fcb808800001f4800075300f8b16cb0 01 0006 68fba3cb22c0 fef8f800
        """)
    /// 1920 × 1080, Constrained Baseline, 60 frames a second.
    static let avcBaseline = bytes(
        "0142c02affe1001a 6742c02ad900780227e5c044000003000400000301e03c60c920 01 0005 68cb83cb20")
    /// 1920 × 1080, Main, 30 frames a second, with scaling lists.
    static let hevcMain = bytes(
        """
        01016000000090000000000078f000fcfdf8f800000f 03
        20 0001 0018 40010c01ffff016000000300900000030000030078959809
        21 0001 002a 420101016000000300900000030000030078a003c08010e596566924e5780b4040000003004000000782
        22 0001 0007 4401c172b46240
        """)
    /// 322 × 182, level 2.0, 25 frames a second.
    static let av1 = bytes("81000c00 0a0b000000043d06d402f80040")
    static let opusMono = bytes("4f707573486561640101380180bb0000000000")
}
