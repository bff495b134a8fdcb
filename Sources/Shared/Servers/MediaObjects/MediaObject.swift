package import Media
package import NIOCore

/// A request for one file of a stream.
package struct MediaObjectRequest: Sendable, Hashable {
    package var key: StreamKey
    package var name: MediaObjectName
    package var query: MediaObjectQuery
    /// How many nodes have passed the request on: 0 from a player, else what `Weir-Hops` says. A node that passes it on
    /// adds one. It says nothing of the object, so requests are equal whatever their hops.
    package var hops: Int

    package init(
        key: StreamKey, name: MediaObjectName, query: MediaObjectQuery = MediaObjectQuery(), hops: Int = 0
    ) {
        self.key = key
        self.name = name
        self.query = query
        self.hops = hops
    }

    package static func == (left: MediaObjectRequest, right: MediaObjectRequest) -> Bool {
        left.name == right.name && left.key == right.key && left.query == right.query
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(self.key)
        hasher.combine(self.name)
        hasher.combine(self.query)
    }
}

/// The query parameters that change an object. All others (tokens, players' own) do not, and are no part of a cache key.
package struct MediaObjectQuery: Sendable, Hashable {
    /// `_HLS_msn`: answer when this segment, or the part below, is there. Spec: RFC 8216bis §6.2.5.2.
    package var sequence: UInt64?
    /// `_HLS_part`.
    package var part: Int?
    /// `_HLS_skip=YES`: a delta update is welcome; `v2`: also one without old date ranges.
    package var skip: Skip?
    /// `dvr=SECONDS`: the playlist reaches this far back.
    package var rewindSeconds: Int?

    package enum Skip: String, Sendable, Hashable {
        case segments = "YES"
        case dateRanges = "v2"
    }

    package init(sequence: UInt64? = nil, part: Int? = nil, skip: Skip? = nil, rewindSeconds: Int? = nil) {
        self.sequence = sequence
        self.part = part
        self.skip = skip
        self.rewindSeconds = rewindSeconds
    }

    /// Whether the answer has to be waited for.
    package var isBlocking: Bool { self.sequence != nil }
}

/// An answer to a request: an object, or why there is none.
package enum MediaObjectAnswer: Sendable {
    case object(MediaObject)
    /// 404. It may appear later; caches keep this for a second.
    case notFound(String)
    /// 400: the query contradicts itself, or asks for what is too far ahead.
    case badRequest(String)
    /// 403.
    case forbidden(String)
    /// 409: it exists, but not as one object on one node.
    case conflict(String)
    /// 503 with `Retry-After`.
    case unavailable(String)
}

/// An answer that is there, or one that is waited for.
package enum MediaObjectReply: Sendable {
    case now(MediaObjectAnswer)
    /// Completes on the loop that was given with the request, within the source's own deadline.
    case later(EventLoopFuture<MediaObjectAnswer>)
}

/// Where objects come from: what this node packages and records, or the cache of what other nodes have.
package protocol MediaObjectSource: Sendable {
    /// Called on `loop`, must not block it. Futures complete on `loop`.
    func reply(to request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply
}

/// One file of a stream with what HTTP says of it.
package struct MediaObject: Sendable {
    package enum Body: Sendable {
        case bytes(ByteBuffer)
        /// A regular file that is complete. It is opened when it is sent.
        case file(path: String, count: Int64)
        /// Bytes that are on their way, each chunk asked for when the one before has left; the length if it is known.
        case stream(length: Int64?, next: @Sendable () async throws -> ByteBuffer?)
    }

    /// How long, and by whom, it may be kept.
    package enum Lifetime: Sendable, Hashable {
        /// It never changes: segments, parts, initialization segments.
        case immutable
        /// It is replaced after a while: playlists.
        case seconds(Double)
        /// It is for one viewer: keys.
        case uncacheable
    }

    package var body: Body
    /// The gzip coding of `body`, made once by whoever made the object; `nil` if it is not worth it.
    package var gzip: ByteBuffer?
    package var contentType: String
    /// A strong validator without quotes; equal for equal bytes on every node. `nil` for streams.
    package var etag: String?
    package var lifetime: Lifetime
    /// When the origin made it, for `Age`; `nil` on the node that makes it.
    package var storedAt: NIODeadline?
    /// Sent as `Content-Disposition: attachment` under this name.
    package var attachmentName: String?
    /// What serving a big body made of it. Keep the object, rather than make one for each reply, and it is made once.
    package let servingCache: ServingCache?

    package init(
        body: Body, gzip: ByteBuffer? = nil, contentType: String, etag: String?, lifetime: Lifetime,
        storedAt: NIODeadline? = nil, attachmentName: String? = nil
    ) {
        self.body = body
        self.gzip = gzip
        self.contentType = contentType
        self.etag = etag
        self.lifetime = lifetime
        self.storedAt = storedAt
        self.attachmentName = attachmentName
        if case .bytes(let bytes) = body, bytes.readableBytes >= ServingCache.minimumByteCount {
            self.servingCache = ServingCache()
        } else {
            self.servingCache = nil
        }
    }

    /// The content types of what Weir serves.
    package enum ContentType {
        package static let hls = "application/vnd.apple.mpegurl"
        package static let dash = "application/dash+xml"
        package static let mpegTS = "video/mp2t"
        package static let mp4 = "video/mp4"
        package static let segment = "video/iso.segment"
        package static let key = "application/octet-stream"
        package static let jpeg = "image/jpeg"
        package static let json = "application/json"
    }
}
