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
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let atomics = Target.Dependency.product(name: "Atomics", package: "swift-atomics")

/// A module of `Sources/Shared`. The folder tells its layer; `Scripts/check-layers` holds the imports to it.
func module(_ name: String, in folder: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Sources/Shared/\(folder)\(name)", swiftSettings: strict)
}

func tests(of name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.byName(name: name)] + dependencies, path: "Tests/\(name)Tests",
        swiftSettings: strict)
}

let layer1: [Target] = [
    module("Media", in: "", [nioCore])
]

let layer2: [Target] = [
    module("AMF", in: "Formats/", ["Media", nioCore]),
    module("FLV", in: "Formats/", ["Media", nioCore]),
]

let layer3: [Target] = [
    module("RTMP", in: "Protocols/", ["Media", "AMF", nioCore, crypto]),
    module("Streaming", in: "", ["Media", nioCore, deque]),
    module("Placement", in: "", ["Media", nioCore]),
]

let layer4: [Target] = [
    module("StreamHub", in: "Servers/", ["Media", "Streaming", nioCore]),
    module("TLSContexts", in: "Servers/", [nioSSL, logging]),
    module(
        "RTMPServer", in: "Servers/",
        ["Media", "AMF", "FLV", "RTMP", "Streaming", "StreamHub", "TLSContexts", nioCore, nioPosix, nioSSL, logging]),
    module(
        "HTTPMedia", in: "Servers/",
        [
            "Media", "AMF", "FLV", "Streaming", "StreamHub", "TLSContexts", nioCore, nioHTTP1, nioHTTPTypes,
            nioWebSocket, nioSSL, httpTypes, hummingbirdCore, crypto, logging,
        ]),
    module("CoordinatorStore", in: "Servers/", ["Media", "Placement", grdb, logging]),
    module(
        "ClusterLink", in: "Servers/",
        ["Media", "Placement", asyncHTTPClient, nioCore, nioHTTP1, logging, serviceLifecycle]),
]

let layer5: [Target] = [
    module("NodeConfiguration", in: "Node/", ["Media", nioCore, yams, argumentParser]),
    module(
        "CoordinatorService", in: "Node/",
        ["Media", "Placement", "CoordinatorStore", hummingbird, nioCore, logging, serviceLifecycle, httpTypes]),
    module(
        "NodeRuntime", in: "Node/",
        [
            "Media", "AMF", "FLV", "RTMP", "Streaming", "Placement", "StreamHub", "TLSContexts", "RTMPServer", "HTTPMedia",
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

let testTargets: [Target] = [
]

let package = Package(
    name: "weir",
    products: [
        .executable(name: "origin", targets: ["Origin"]),
        .executable(name: "edge", targets: ["Edge"]),
        .executable(name: "coordinator", targets: ["Coordinator"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
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
        .package(url: "https://github.com/apple/swift-atomics", from: "1.3.0"),
    ],
    targets: layer1 + layer2 + layer3 + layer4 + layer5 + programs + testTargets
)
