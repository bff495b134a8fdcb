import Foundation

/// `docs/protocols.md`, made of the table that the matrix test runs.
enum MatrixDocument {
    static let name = "protocols.md"

    static var text: String {
        [
            "# Protocols", Self.introduction, Self.table, Self.legend, "## Why not", Self.reasons,
            "## What equal means",
            Self.equality, "## With which clients", Self.clients,
        ].joined(separator: "\n\n") + "\n"
    }

    private static let introduction = """
        What comes in by one protocol goes out by every other, on the node where it came in and on every edge. Pictures are
        never made anew; sound is, where the other side has no room for its codec. Rows say what comes in, columns what it
        goes out as. Each cell holds for H.264 and for HEVC.

        This page is made of the table that `MatrixTests` run, cell by cell, with real clients
        (`make docs`): all of it by `make attack`, a row of each protocol by `make test`.
        """

    private static var table: String {
        var lines = [
            "| In | Sound | " + MatrixDelivery.allCases.map(\.rawValue).joined(separator: " | ") + " |",
            "|---|---|" + String(repeating: ":-:|", count: MatrixDelivery.allCases.count),
        ]
        for ingest in MatrixIngest.allCases {
            for audio in MatrixAudio.allCases {
                let marks = MatrixDelivery.allCases.map { Self.mark(ingest, $0, audio) }
                lines.append("| \(ingest.rawValue) | \(audio.rawValue) | " + marks.joined(separator: " | ") + " |")
            }
        }
        return lines.joined(separator: "\n")
    }

    private static func mark(_ ingest: MatrixIngest, _ delivery: MatrixDelivery, _ audio: MatrixAudio) -> String {
        let cell = MatrixCell(ingest: ingest, delivery: delivery, video: .h264, audio: audio)
        switch cell.rule {
        case .exact: return cell.isByWish ? "=*" : "="
        case .derived(let codec): return codec.rawValue
        case .impossible(let reason):
            return "[\((MatrixReason.allCases.firstIndex(of: reason) ?? 0) + 1)](#why-not)"
        }
    }

    private static var legend: String {
        let impossible = MatrixCell.all.filter { if case .impossible = $0.rule { true } else { false } }.count
        let derived = MatrixCell.all.filter { if case .derived = $0.rule { true } else { false } }.count
        return """
            | | |
            |---|---|
            | = | pictures and packets of sound are the publisher's |
            | =* | the same, but only for those who ask: without that, the sound becomes AAC, which all players know. By setting: \
            `stream.audio.live: source` for RTMP, HTTP-FLV, HTTP-TS and SRT, `stream.audio.packaged: source` for HLS, DASH and \
            recordings. By player: `?audio=source` for HTTP-FLV and HTTP-TS; RTMP players that say they know Opus. What a \
            format has no room for is then left out: G.711 of HTTP-TS, SRT, HLS, DASH and recordings |
            | AAC, Opus | pictures are the publisher's; the sound is made into this codec, once for all who need it |
            | number | cannot be; see below |

            \(MatrixCell.all.count) cells with both codecs of pictures: \(MatrixCell.all.count - impossible - derived) equal, \
            \(derived) with sound that is made anew, \(impossible) that cannot be.
            """
    }

    private static var reasons: String {
        MatrixReason.allCases.enumerated().map { "\($0.offset + 1). \($0.element.text)" }.joined(separator: "\n")
    }

    private static let equality = """
        For each cell the test publishes ten seconds in real time to an origin and plays them at an edge (recordings are the
        origin's). A player may come late, and must get three seconds or more without a gap.

        - **Pictures** are decoded, and the hash of each is that of the source's. So is its distance in time from all others,
          within a millisecond, and another one where the player's file has whole milliseconds.
        - **Sound** that is passed on has the same packets (G.711: the same bytes) at the same distances; a publisher's file of
          whole milliseconds adds one for AAC, whose frames are no whole milliseconds.
        - **Sound that is made anew** is decoded: the tone has its pitch, no packet is missing, and the pauses in it are beside the
          same pictures as in the source.
        - **Together**: sound and picture are no more than 12 ms further apart than in the source, 25 ms where clocks of RTP are
          put together by a sender's reports.
        - A viewer by WHEP gets what is cached since the last keyframe at once, a millisecond apart; from there on times count.
        """

    private static var clients: String {
        let publishers = MatrixIngest.allCases.map { "| \($0.rawValue) in | \($0.client) |" }
        let players = MatrixDelivery.allCases.map { "| \($0.rawValue) out | \($0.client) |" }
        return (["| | |", "|---|---|"] + publishers + players).joined(separator: "\n")
    }
}
