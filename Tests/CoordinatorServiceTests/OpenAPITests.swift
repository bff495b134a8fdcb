import CoordinatorStore
import Foundation
import HTTPTypes
import Media
import NIOCore
import NIOHTTP1
import Placement
import Testing

@testable import CoordinatorService

/// Holds the routes of the program to the description that it serves. `Scripts/check-openapi` does so over HTTP.
@Suite("OpenAPI") struct OpenAPITests {
    private let document: [String: Any]

    init() throws {
        let data = Data(OpenAPIDocument.bytes.readableBytesView)
        self.document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    private func value(_ path: String...) -> Any? {
        path.reduce(self.document as Any?) { ($0 as? [String: Any])?[$1] }
    }

    private func routes() async throws -> [APIRoute] {
        let folder = NSTemporaryDirectory() + "weir-openapi-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try await CoordinatorStore.open(path: folder + "/db.sqlite")
        defer { store.close() }
        let core = try await CoordinatorCore(
            configuration: CoordinatorConfiguration(), store: store, logger: quietLogger())
        return CoordinatorRoutes(core: core).all()
    }

    @Test("each route is described with the role that it needs, and each description has its route")
    func routesAndRoles() async throws {
        let paths = try #require(self.value("paths") as? [String: [String: [String: Any]]])
        var described: [String: String] = [:]
        for (path, operations) in paths {
            for (method, operation) in operations {
                let role = operation["x-weir-role"] as? String
                described["\(method.uppercased()) \(path)"] = role
                #expect((operation["security"] as? [Any])?.isEmpty ?? false == (role == "none"))
            }
        }
        var served: [String: String] = [:]
        for route in try await self.routes() {
            let name = "\(route.method.rawValue) \(route.path)"
            #expect(served.updateValue(route.access.rawValue, forKey: name) == nil, "\(name) is there twice")
        }
        #expect(served == described)
    }

    @Test("closed sets of words are the same in the description and in the program") func words() {
        func words(_ schema: String) -> Set<String> {
            Set(self.value("components", "schemas", schema, "enum") as? [String] ?? [])
        }
        #expect(words("EventKind") == Set(ClusterEvent.Kind.allCases.map(\.rawValue)))
        #expect(words("PlacementState") == Set(PlacementState.allCases.map(\.rawValue)))
        #expect(words("NodeState") == Set(NodeState.allCases.map(\.rawValue)))
        #expect(words("NodeRole") == Set(NodeRole.allCases.map(\.rawValue)))
        #expect(words("Role") == Set(TokenRole.allCases.map(\.rawValue)))
        let protocols = Set(MediaProtocol.allCases.map(\.rawValue))
        let told = self.value("components", "schemas", "MediaURL", "properties", "protocol", "enum")
        #expect(Set(told as? [String] ?? []) == protocols)
        let asked = self.value("components", "parameters", "format", "schema", "enum") as? [String] ?? []
        #expect(Set(asked) == protocols.union(["all"]))
        let urls = self.value("components", "schemas", "MediaURLs", "properties", "urls", "maxItems") as? Int
        let nodes = self.value("components", "parameters", "routeLimit", "schema", "maximum") as? Int
        #expect(urls == nodes.map { $0 * protocols.count })
    }

    @Test("whatever is referred to is there") func references() {
        var missing: [String] = []
        func walk(_ value: Any) {
            if let object = value as? [String: Any] {
                if let target = object["$ref"] as? String {
                    let parts = target.dropFirst(2).split(separator: "/").map(String.init)
                    let found = parts.reduce(self.document as Any?) { ($0 as? [String: Any])?[$1] }
                    if found == nil { missing.append(target) }
                }
                object.values.forEach(walk)
            }
            (value as? [Any])?.forEach(walk)
        }
        walk(self.document)
        #expect(missing.isEmpty)
    }

    @Test("the description is served with a validator, whoever asks") func served() async throws {
        let coordinator = try TestCoordinator(secret: "s")
        try await coordinator.start()
        let url = coordinator.url + "/api/v1/openapi.json"
        let first = try await answer(url)
        #expect(first.bytes == OpenAPIDocument.bytes)
        let tag = try #require(first.headers.first(name: "ETag"))
        #expect(try await answer(url, headers: [("If-None-Match", tag)]).status == .notModified)
        #expect(try await answer(coordinator.url + "/").headers.first(name: "Content-Security-Policy") != nil)
        await coordinator.stop()
    }
}
