package import Media
package import NIOCore

/// Makes transcoders for the streams of a node.
package protocol AudioTranscoderFactory: Sendable {
    /// A transcoder that makes `codec` of audio as `source` describes it; `nil` if it cannot.
    ///
    /// Called on `home`, where `output` is called, too, with frames in order. Must not block.
    func makeTranscoder(
        of key: StreamKey, from source: Track, to codec: Codec, home: any EventLoop,
        output: @escaping @Sendable ([Frame]) -> Void
    ) -> (any AudioTranscoder)?
}

/// What a transcoder has done.
package struct AudioTranscoderStatistics: Sendable, Hashable {
    /// Frames of the source that were taken, and frames that came of them.
    package var sourceFrames: UInt64 = 0
    package var frames: UInt64 = 0
    /// Frames of the source that were dropped because the workers could not follow.
    package var droppedFrames: UInt64 = 0
    /// Frames of the source that no decoder understood.
    package var brokenFrames: UInt64 = 0
    /// Gaps of the source, at which the output begins anew.
    package var gaps: UInt64 = 0

    package init() {}
}

/// Makes the audio of one stream into another codec, in order, off the event loops.
///
/// The times of its frames are those of the samples within: what a player hears at a time is what the source had there.
/// They only grow. All methods are called on the stream's home loop and do not block.
package protocol AudioTranscoder: AnyObject, Sendable {
    /// What its frames are, known before the first of them.
    var track: Track { get }
    var statistics: AudioTranscoderStatistics { get }

    /// The source goes on as `source` describes it. `false`: that would make another `track`, and takes another
    /// transcoder.
    func sourceChanged(to source: Track) -> Bool
    /// Takes the source's next frame. If too many wait, the oldest is dropped and counted.
    func submit(_ frame: Frame)
    /// Calls `reached` on the home loop when `output` has got what came of all that was submitted before. If too many
    /// wait for that, the oldest is called before its time.
    func notify(_ reached: @escaping @Sendable () -> Void)
    /// Nothing is wanted any more. `output` may be called once more with frames that were on their way.
    func close()
}
