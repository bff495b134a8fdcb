// swift-tools-version: 6.2
import PackageDescription

/// The settings of every Swift target: Swift 6 mode, and the stricter rules of docs/architecture.md.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
]

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioWebSocket = Target.Dependency.product(name: "NIOWebSocket", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let nioHTTPTypes = Target.Dependency.product(name: "NIOHTTPTypes", package: "swift-nio-extras")
let nioHTTPTypesHTTP1 = Target.Dependency.product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let asyncHTTPClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let serviceLifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let cryptoExtras = Target.Dependency.product(name: "CryptoExtras", package: "swift-crypto")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let nioHTTP2 = Target.Dependency.product(name: "NIOHTTP2", package: "swift-nio-http2")
let jwtKit = Target.Dependency.product(name: "JWTKit", package: "jwt-kit")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")

/// A module of `Sources/Shared`. The folder tells its layer; `Scripts/check-layers` holds the imports to it.
func module(_ name: String, in folder: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Sources/Shared/\(folder)\(name)", swiftSettings: strict)
}

extension Target.Dependency {
    func isModule(_ name: String) -> Bool {
        if case .byNameItem(let own, _) = self { own == name } else { false }
    }
}

func tests(of name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.byName(name: name)] + dependencies.filter { !$0.isModule(name) },
        path: "Tests/\(name)Tests",
        swiftSettings: strict)
}

let layer1: [Target] = [
    module("Media", in: "", [nioCore])
]

let layer2: [Target] = [
    module("AMF", in: "Formats/", ["Media", nioCore]),
    module("FLV", in: "Formats/", ["Media", nioCore]),
    module("ISOBMFF", in: "Formats/", ["Media", nioCore]),
    module("MPEGTS", in: "Formats/", ["Media", nioCore]),
    module("Playlists", in: "Formats/", ["Media", nioCore]),
    module("Exposition", in: "Formats/", []),
    module("SRSConfig", in: "Formats/", []),
    module("RTP", in: "Formats/", ["Media", nioCore]),
    module("SDP", in: "Formats/", []),
    module("STUN", in: "Formats/", [nioCore, crypto]),
    module("DigestAuthentication", in: "Formats/", [nioCore, crypto]),
    module("RTSP", in: "Formats/", [nioCore]),
    module("MPEGPS", in: "Formats/", ["Media", "MPEGTS", nioCore]),
    module("SIP", in: "Formats/", [nioCore]),
    module("MANSCDP", in: "Formats/", [nioCore]),
]

let layer3: [Target] = [
    module("RTMP", in: "Protocols/", ["Media", "AMF", nioCore, crypto]),
    module("WebRTC", in: "Protocols/", ["Media", "RTP", "SDP", "STUN", nioCore, crypto]),
    module("SecureRTP", in: "Protocols/", ["COpenSSL", nioCore]),
    module("RTPReceiving", in: "Protocols/", ["Media", "RTP", nioCore, deque]),
    module("RTPSending", in: "Protocols/", ["Media", "RTP", "Streaming", nioCore, deque]),
    module("TransportStreams", in: "Protocols/", ["Media", "MPEGTS", "Streaming", nioCore]),
    module("SRTAccess", in: "Protocols/", []),
    module(
        "GB28181", in: "Protocols/",
        [
            "Media", "MPEGTS", "MPEGPS", "RTP", "SIP", "MANSCDP", "DigestAuthentication", "Streaming", nioCore, deque,
        ]),
    module(
        "RTSPSessions", in: "Protocols/",
        ["Media", "RTP", "SDP", "RTSP", "DigestAuthentication", "RTPReceiving", "Streaming", nioCore, deque]),
    module("Streaming", in: "", ["Media", nioCore, deque]),
    module("Access", in: "", ["Media", nioCore, deque]),
    module("Placement", in: "", ["Media", nioCore, deque]),
    module("Packaging", in: "", ["Media", "AMF", "ISOBMFF", "MPEGTS", "Playlists", nioCore, deque]),
    module("Recording", in: "", ["Media", "AMF", "FLV", "ISOBMFF", "MPEGTS", nioCore]),
]

/// System libraries: module maps and C shims only.
let cLibraries: [Target] = [
    .systemLibrary(
        name: "CLibAV", path: "Sources/Shared/CLibraries/CLibAV",
        pkgConfig: "libavcodec libswresample libswscale libavutil",
        providers: [.apt(["libavcodec-dev", "libswresample-dev", "libswscale-dev", "libavutil-dev"])]),
    .systemLibrary(
        name: "COpenSSL", path: "Sources/Shared/CLibraries/COpenSSL", pkgConfig: "openssl",
        providers: [.apt(["libssl-dev"])]),
    .systemLibrary(
        name: "CSRTP", path: "Sources/Shared/CLibraries/CSRTP", pkgConfig: "libsrtp2",
        providers: [.apt(["libsrtp2-dev"])]),
    .systemLibrary(
        name: "CSRT", path: "Sources/Shared/CLibraries/CSRT", pkgConfig: "srt",
        providers: [.apt(["libsrt-openssl-dev"])]),
    .systemLibrary(name: "CLinux", path: "Sources/Shared/CLibraries/CLinux"),
    .systemLibrary(
        name: "CZlib", path: "Sources/Shared/CLibraries/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
]

let layer4: [Target] = [
    module("MediaObjects", in: "Servers/", ["Media", "CZlib", nioCore, crypto]),
    module("MediaStorage", in: "Servers/", ["Media", nioCore, nioPosix, logging]),
    module("MediaCatalog", in: "Servers/", ["Media", grdb, logging]),
    module(
        "SegmentStore", in: "Servers/",
        [
            "Media", "ISOBMFF", "MPEGTS", "Playlists", "Packaging", "Streaming", "StreamHub", "MediaObjects",
            "MediaStorage", "MediaCatalog", nioCore, nioPosix, crypto, cryptoExtras, logging,
        ]),
    module(
        "ObjectCache", in: "Servers/",
        ["Media", "MediaObjects", "Playlists", asyncHTTPClient, nioCore, nioHTTP1, deque, logging]),
    module(
        "Recorder", in: "Servers/",
        [
            "Media", "AMF", "FLV", "ISOBMFF", "MPEGTS", "Playlists", "Recording", "Streaming", "StreamHub",
            "MediaObjects", "MediaStorage", "MediaCatalog", nioCore, nioPosix, logging,
        ]),
    module(
        "Snapshots", in: "Servers/",
        [
            "Media", "Streaming", "StreamHub", "MediaObjects", "MediaStorage", "CLibAV", nioCore, nioPosix, crypto,
            logging,
        ]),
    module("StreamHub", in: "Servers/", ["Media", "Streaming", nioCore, nioPosix]),
    module(
        "TSServer", in: "Servers/",
        [
            "Media", "MPEGTS", "TransportStreams", "Streaming", "StreamHub", nioCore, nioPosix, logging,
        ]),
    module("TLSContexts", in: "Servers/", [nioSSL, logging]),
    module(
        "RTSPServer", in: "Servers/",
        [
            "Media", "RTP", "RTSP", "RTSPSessions", "DigestAuthentication", "RTPReceiving", "Streaming", "StreamHub",
            "TLSContexts", nioCore, nioPosix, nioSSL, deque, logging,
        ]),
    module("ProcessStats", in: "Servers/", [nioCore]),
    module(
        "WebRTCServer", in: "Servers/",
        [
            "Media", "RTP", "SDP", "STUN", "WebRTC", "SecureRTP", "RTPReceiving", "RTPSending", "Streaming",
            "StreamHub", "CLinux", nioCore, nioPosix, deque, crypto, logging,
        ]),
    module(
        "SRTServer", in: "Servers/",
        [
            "Media", "MPEGTS", "SRTAccess", "TransportStreams", "Streaming", "StreamHub", "CSRT", nioCore, nioPosix,
            logging,
        ]),
    module(
        "GB28181Server", in: "Servers/",
        ["Media", "RTP", "SIP", "MANSCDP", "GB28181", "Streaming", "StreamHub", nioCore, nioPosix, logging]),
    module("WebRTCSignalling", in: "Servers/", ["Media", hummingbird, httpTypes, nioCore, nioHTTP1, crypto, logging]),
    module("Transcoding", in: "Servers/", ["Media", "Streaming", "StreamHub", "CLibAV", nioCore, nioPosix, logging]),
    module(
        "AccessControl", in: "Servers/",
        [
            "Media", "Access", "StreamHub", "MediaObjects", asyncHTTPClient, nioCore, nioHTTP1, crypto, jwtKit, deque,
            logging,
        ]),
    module(
        "Hooks", in: "Servers/",
        ["Media", "StreamHub", asyncHTTPClient, nioCore, nioHTTP1, crypto, deque, logging, serviceLifecycle]),
    module(
        "APIServer", in: "Servers/",
        [
            "TLSContexts", hummingbird, hummingbirdCore, nioCore, nioPosix, nioHTTP1, nioHTTP2, nioHTTPTypes,
            nioHTTPTypesHTTP1, nioTLS, nioSSL, crypto, httpTypes, logging, serviceLifecycle,
        ]),
    module(
        "RTMPServer", in: "Servers/",
        [
            "Media", "AMF", "FLV", "RTMP", "Streaming", "StreamHub", "TLSContexts", crypto, nioCore, nioPosix, nioSSL,
            logging,
        ]),
    module(
        "HTTPMedia", in: "Servers/",
        [
            "Media", "AMF", "FLV", "Streaming", "StreamHub", "TransportStreams", "MediaObjects", "TLSContexts",
            "CLinux", deque, nioCore,
            nioPosix, nioHTTP1, nioHTTP2, nioHTTPTypes, nioHTTPTypesHTTP1, nioTLS, nioWebSocket, nioSSL,
            hummingbirdCore, crypto, logging,
        ]),
    module("CoordinatorStore", in: "Servers/", ["Media", "Placement", grdb, logging]),
    module(
        "ClusterLink", in: "Servers/",
        [
            "Media", "Placement", asyncHTTPClient, crypto, deque, nioCore, nioPosix, nioHTTP1, logging,
            serviceLifecycle,
        ]),
]

let layer5: [Target] = [
    .target(
        name: "PlayerPage", dependencies: [nioCore], path: "Sources/Shared/Node/PlayerPage",
        resources: [.embedInCode("Page")], swiftSettings: strict),
    .target(
        name: "ConsolePage", dependencies: [nioCore], path: "Sources/Shared/Node/ConsolePage",
        resources: [.embedInCode("Page")], swiftSettings: strict),
    module(
        "NodeAPI", in: "Node/",
        [
            "Media", "Streaming", "StreamHub", "ProcessStats", "Exposition", "Recorder", "ObjectCache", "MediaStorage",
            "SegmentStore", "Hooks", "APIServer", "MANSCDP", "GB28181", "GB28181Server", hummingbird, httpTypes,
            nioCore, logging,
        ]),
    module(
        "NodeConfiguration", in: "Node/",
        ["Media", "MediaStorage", "SRSConfig", "SRTAccess", "Access", "MediaObjects", nioCore, yams, argumentParser]),
    .target(
        name: "CoordinatorService",
        dependencies: [
            "Media", "Placement", "SRTAccess", "CoordinatorStore", "APIServer", "TLSContexts", "Exposition",
            "ProcessStats", "ConsolePage", "PlayerPage", "NodeConfiguration", hummingbird, crypto, deque, nioCore,
            nioPosix, logging, serviceLifecycle, httpTypes,
        ], path: "Sources/Shared/Node/CoordinatorService", resources: [.embedInCode("OpenAPI")], swiftSettings: strict),
    module(
        "NodeRuntime", in: "Node/",
        [
            "Media", "AMF", "FLV", "RTMP", "Streaming", "Placement", "StreamHub", "TLSContexts", "RTMPServer",
            "HTTPMedia", "Playlists", "Packaging", "Recording", "MediaObjects", "MediaStorage", "MediaCatalog",
            "SegmentStore", "ObjectCache", "Recorder", "Snapshots", "PlayerPage", "NodeAPI", "Hooks", "Access",
            "AccessControl", "APIServer", "ProcessStats", "Exposition", asyncHTTPClient, nioHTTP1,
            "RTSP", "RTSPSessions", "RTSPServer", "WebRTCServer", "WebRTCSignalling", "Transcoding",
            "SRTAccess", "SRTServer", "TSServer", "TransportStreams", "MPEGTS",
            "GB28181", "GB28181Server",
            "ClusterLink", "NodeConfiguration", hummingbird, hummingbirdCore, nioCore, nioPosix, logging,
            serviceLifecycle, unixSignals, httpTypes,
        ]),
]

/// The programs: flags and wiring.
let programs: [Target] = [
    .executableTarget(
        name: "Origin", dependencies: ["NodeConfiguration", "NodeRuntime", argumentParser], path: "Sources/Origin",
        swiftSettings: strict),
    .executableTarget(
        name: "Edge", dependencies: ["NodeConfiguration", "NodeRuntime", argumentParser], path: "Sources/Edge",
        swiftSettings: strict),
    .executableTarget(
        name: "Coordinator",
        dependencies: [
            "NodeConfiguration", "NodeRuntime", "CoordinatorService", argumentParser, logging, serviceLifecycle,
            unixSignals, nioCore,
        ], path: "Sources/Coordinator", swiftSettings: strict),
]

let clusterTestDependencies: [Target.Dependency] = [
    "Media", "Placement", "CoordinatorStore", "CoordinatorService", "ClusterLink", asyncHTTPClient, nioCore, nioHTTP1,
    logging,
    serviceLifecycle,
]

let testTargets: [Target] = [
    // What tests of several modules use.
    .target(
        name: "TestSupport", dependencies: ["Media", "FLV", nioCore], path: "Tests/TestSupport", swiftSettings: strict),
    tests(of: "Media", ["TestSupport", nioCore]),
    tests(of: "AMF", ["Media", nioCore]),
    tests(of: "FLV", ["Media", "TestSupport", nioCore]),
    tests(of: "ISOBMFF", ["Media", nioCore]),
    tests(of: "MPEGTS", ["Media", "TestSupport", nioCore]),
    tests(of: "Playlists", ["Media", nioCore]),
    tests(of: "Packaging", ["Media", "AMF", "ISOBMFF", "MPEGTS", "Playlists", nioCore]),
    tests(of: "Recording", ["Media", "FLV", "ISOBMFF", "MPEGTS", "TestSupport", nioCore]),
    tests(of: "MediaObjects", ["Media", nioCore]),
    tests(of: "MediaStorage", ["Media", nioCore, logging]),
    tests(of: "MediaCatalog", ["Media", grdb, logging]),
    tests(
        of: "SegmentStore",
        [
            "Media", "Packaging", "Streaming", "StreamHub", "MediaObjects", "MediaStorage", "MediaCatalog", nioCore,
            crypto, cryptoExtras, nioPosix, logging,
        ]),
    tests(of: "ObjectCache", ["Media", "MediaObjects", asyncHTTPClient, nioCore, nioPosix, nioHTTP1, logging]),
    tests(
        of: "Recorder",
        [
            "Media", "FLV", "ISOBMFF", "MPEGTS", "Recording", "Streaming", "StreamHub", "MediaObjects", "MediaStorage",
            "MediaCatalog", "TestSupport", nioCore, nioPosix, logging,
        ]),
    tests(
        of: "Snapshots",
        [
            "Media", "ISOBMFF", "MediaStorage", "Streaming", "StreamHub", "MediaObjects", nioCore, nioPosix, logging,
        ]),
    tests(of: "RTMP", ["Media", "AMF", nioCore]),
    tests(of: "TransportStreams", ["Media", "MPEGTS", "Streaming", "TestSupport", nioCore]),
    tests(of: "SRTAccess", []),
    tests(of: "Streaming", ["Media", nioCore]),
    tests(of: "Placement", ["Media", nioCore]),
    tests(of: "Exposition", []),
    tests(of: "SRSConfig", []),
    tests(of: "RTP", ["Media", nioCore]),
    tests(of: "SDP", []),
    tests(of: "STUN", [nioCore]),
    tests(
        of: "RTSPSessions",
        ["Media", "RTP", "SDP", "RTSP", "DigestAuthentication", "RTPReceiving", "Streaming", nioCore]),
    tests(of: "DigestAuthentication", [nioCore]),
    tests(of: "RTSP", [nioCore]),
    tests(of: "MPEGPS", ["Media", "MPEGTS", "TestSupport", nioCore]),
    tests(of: "SIP", [nioCore]),
    tests(of: "MANSCDP", [nioCore]),
    tests(
        of: "GB28181Server",
        [
            "Media", "RTP", "SIP", "MANSCDP", "GB28181", "Streaming", "StreamHub", "DigestAuthentication",
            "TestSupport", nioCore, nioPosix, logging,
        ]),
    tests(
        of: "GB28181",
        ["Media", "MPEGPS", "RTP", "SIP", "MANSCDP", "DigestAuthentication", "TestSupport", nioCore]),
    tests(of: "WebRTC", ["Media", "RTP", "SDP", "STUN", nioCore]),
    tests(of: "SecureRTP", ["COpenSSL", "CSRTP", nioCore]),
    tests(of: "RTPReceiving", ["Media", "RTP", nioCore]),
    tests(of: "RTPSending", ["Media", "RTP", "Streaming", nioCore]),
    tests(
        of: "WebRTCServer",
        [
            "Media", "RTP", "SDP", "STUN", "WebRTC", "SecureRTP", "RTPReceiving", "RTPSending", "Streaming",
            "StreamHub", "TestSupport", nioCore, nioPosix, nioEmbedded, logging,
        ]),
    tests(
        of: "SRTServer",
        [
            "Media", "MPEGTS", "SRTAccess", "TransportStreams", "Streaming", "StreamHub", "CSRT", nioCore, nioPosix,
            logging,
        ]),
    tests(
        of: "WebRTCSignalling",
        ["Media", hummingbird, hummingbirdCore, httpTypes, asyncHTTPClient, nioCore, nioHTTP1, logging]),
    tests(of: "Transcoding", ["Media", "Streaming", "StreamHub", nioCore, nioPosix, logging]),
    tests(of: "Access", ["Media", nioCore]),
    tests(of: "ProcessStats", [nioCore, nioPosix]),
    tests(
        of: "AccessControl",
        [
            "Media", "Access", "StreamHub", "MediaObjects", asyncHTTPClient, nioCore, nioPosix, nioHTTP1, crypto,
            cryptoExtras, jwtKit, logging,
        ]),
    tests(
        of: "Hooks",
        [
            "Media", "StreamHub", asyncHTTPClient, nioCore, nioPosix, nioHTTP1, crypto, logging, serviceLifecycle,
        ]),
    tests(
        of: "APIServer",
        [
            "TLSContexts", hummingbird, hummingbirdCore, asyncHTTPClient, nioCore, nioPosix, nioHTTP1, nioSSL,
            httpTypes, logging, serviceLifecycle,
        ]),
    tests(
        of: "NodeAPI",
        [
            "Media", "Streaming", "StreamHub", "ProcessStats", "Exposition", "MediaStorage", "ObjectCache", "Recorder",
            "SegmentStore", "Hooks", "APIServer", hummingbird, httpTypes, nioCore, nioPosix, nioEmbedded, logging,
        ]),
    tests(of: "StreamHub", ["Media", "Streaming", nioCore, nioPosix, nioEmbedded]),
    tests(
        of: "RTMPServer",
        [
            "Media", "AMF", "FLV", "RTMP", "Streaming", "StreamHub", "TLSContexts", "TestSupport", nioCore, nioPosix,
            nioSSL, logging,
        ]),
    tests(
        of: "TSServer",
        ["Media", "MPEGTS", "TransportStreams", "Streaming", "StreamHub", "TestSupport", nioCore, nioPosix, logging]),
    tests(
        of: "HTTPMedia",
        [
            "Media", "FLV", "MPEGTS", "TransportStreams", "Streaming", "StreamHub", "MediaObjects", "TLSContexts",
            "TestSupport", hummingbird,
            hummingbirdCore, asyncHTTPClient, nioCore, nioPosix, nioHTTP1, nioHTTPTypes, httpTypes, logging,
        ]),
    tests(
        of: "RTSPServer",
        [
            "Media", "RTP", "RTSP", "RTSPSessions", "DigestAuthentication", "Streaming", "StreamHub", "TLSContexts",
            "TestSupport", nioCore, nioPosix, logging,
        ]),
    tests(of: "NodeConfiguration", ["Media", "SRSConfig", "SRTAccess", nioCore]),
    tests(of: "CoordinatorStore", ["Media", "Placement", grdb, logging]),
    tests(of: "CoordinatorService", clusterTestDependencies + ["APIServer", "Exposition", "SRTAccess"]),
    tests(of: "ClusterLink", clusterTestDependencies),
    tests(
        of: "NodeRuntime",
        [
            "Media", "MPEGTS", "AMF", "FLV", "RTMP", "RTMPServer", "StreamHub", "Streaming", "ClusterLink", "Placement",
            "SRTAccess", "SRTServer", "ProcessStats", "NodeConfiguration", "TLSContexts", nioCore, nioPosix, nioSSL,
            logging, serviceLifecycle,
        ]),
    .testTarget(
        name: "ClusterTests", dependencies: ["Origin", "Edge", "Coordinator"], path: "Tests/ClusterTests",
        swiftSettings: strict),
]

/// Fuzz targets need a compiler flag that nothing else may have: `Scripts/fuzz` asks for them.
let fuzzTargets: [Target] =
    Context.environment["FUZZ"] == nil
    ? []
    : [
        ("FuzzCodecHeaders", ["Media"]), ("FuzzFLV", ["Media", "FLV"]), ("FuzzAMF", ["Media", "AMF"]),
        ("FuzzRTMP", ["Media", "AMF", "RTMP"]), ("FuzzISOBMFF", ["Media", "ISOBMFF"]),
        ("FuzzMPEGTS", ["Media", "MPEGTS"]), ("FuzzAccess", ["Access"]), ("FuzzRTP", ["Media", "RTP"]),
        ("FuzzSDP", ["SDP"]), ("FuzzRTSP", ["Media", "DigestAuthentication", "RTSP", "RTSPSessions"]),
        ("FuzzMPEGPS", ["Media", "MPEGPS"]), ("FuzzSIP", ["SIP", "MANSCDP"]),
        ("FuzzTransportStreams", ["Media", "MPEGTS", "Streaming", "TransportStreams"]),
        ("FuzzSTUN", ["STUN"]), ("FuzzSecureRTP", ["SecureRTP"]), ("FuzzSRTAccess", ["SRTAccess"]),
    ].map { (name: String, modules: [String]) in
        .executableTarget(
            name: name, dependencies: modules.map { .byName(name: $0) } + [nioCore], path: "Fuzz/\(name)",
            swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])])
    }

/// The simulation of the cluster is worth its time only with optimisation: `Scripts/simulate` asks for it.
let simulationTargets: [Target] =
    Context.environment["SIMULATE"] == nil
    ? []
    : [
        .executableTarget(
            name: "Simulation",
            dependencies: [
                "Media", "Placement", argumentParser, nioCore,
                .product(name: "HeapModule", package: "swift-collections"),
            ], path: "Tests/Simulation", swiftSettings: strict)
    ]
let simulationProducts: [Product] =
    simulationTargets.isEmpty ? [] : [.executable(name: "weir-simulation", targets: ["Simulation"])]

/// What `Benchmarks/run` needs.
let benchmarkTargets: [Target] =
    Context.environment["BENCH"] == nil
    ? []
    : [
        .systemLibrary(name: "CDatagrams", path: "Benchmarks/CDatagrams"),
        .executableTarget(
            name: "WHEPLoad",
            dependencies: ["CDatagrams", "Polling", "RTP", "SDP", "STUN", "SecureRTP", nioCore, argumentParser],
            path: "Benchmarks/WHEPLoad", swiftSettings: strict),
        .systemLibrary(name: "CEpoll", path: "Benchmarks/CEpoll"),
        // What the load generators share.
        .target(name: "Polling", dependencies: ["CEpoll"], path: "Benchmarks/Polling", swiftSettings: strict),
        .target(
            name: "LoadSupport", dependencies: ["Polling"], path: "Benchmarks/LoadSupport", swiftSettings: strict),
        .executableTarget(
            name: "LoadGenerator", dependencies: ["LoadSupport", "Polling", argumentParser],
            path: "Benchmarks/LoadGenerator", swiftSettings: strict),
        .executableTarget(
            name: "SRTLoad", dependencies: ["CSRT", "LoadSupport", "Polling", argumentParser],
            path: "Benchmarks/SRTLoad", swiftSettings: strict),
        .executableTarget(name: "SRTFloor", dependencies: ["CSRT"], path: "Benchmarks/SRTFloor"),
        .executableTarget(
            name: "ObjectServer",
            dependencies: [
                "Media", "MediaObjects", "HTTPMedia", "Streaming", "StreamHub", "TLSContexts", hummingbirdCore, nioCore,
                nioPosix, nioHTTPTypes, httpTypes, argumentParser, logging,
            ], path: "Benchmarks/ObjectServer", swiftSettings: strict),
        .executableTarget(
            name: "CoordinatorLoad", dependencies: ["Media", "Placement", argumentParser],
            path: "Benchmarks/CoordinatorLoad", swiftSettings: strict),
        .executableTarget(
            name: "TSLoad",
            dependencies: [
                "Media", "MPEGTS", "Streaming", "StreamHub", "TransportStreams", "TSServer", nioCore, nioPosix,
                argumentParser, logging,
            ], path: "Benchmarks/TSLoad", swiftSettings: strict),
        .executableTarget(name: "BenchmarkFloor", path: "Benchmarks/Floor"),
    ]
let benchmarkProducts: [Product] =
    benchmarkTargets.isEmpty
    ? []
    : [
        .executable(name: "weir-bench-load", targets: ["LoadGenerator"]),
        .executable(name: "weir-bench-floor", targets: ["BenchmarkFloor"]),
        .executable(name: "weir-bench-objects", targets: ["ObjectServer"]),
        .executable(name: "weir-bench-coordinator", targets: ["CoordinatorLoad"]),
        .executable(name: "weir-bench-whep", targets: ["WHEPLoad"]),
        .executable(name: "weir-bench-ts", targets: ["TSLoad"]),
        .executable(name: "weir-bench-srt", targets: ["SRTLoad"]),
        .executable(name: "weir-bench-srt-floor", targets: ["SRTFloor"]),
    ]

let package = Package(
    name: "weir",
    products: [
        .executable(name: "origin", targets: ["Origin"]),
        .executable(name: "edge", targets: ["Edge"]),
        .executable(name: "coordinator", targets: ["Coordinator"]),
    ] + benchmarkProducts + simulationProducts,
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.7.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
    ],
    targets: layer1 + layer2 + layer3 + cLibraries + layer4 + layer5 + programs + testTargets + fuzzTargets
        + benchmarkTargets + simulationTargets
)
