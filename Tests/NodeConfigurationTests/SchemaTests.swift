import Foundation
import Testing

@testable import NodeConfiguration

@Suite("Schema")
struct SchemaTests {
    /// Tests run in the repository. Where a file was compiled says nothing of where the repository is now.
    private static let root = URL(fileURLWithPath: FileManager.default.currentDirectoryPath)

    @Test("each key has an environment variable of its own, and none looks like one of Kubernetes")
    func environmentNames() {
        #expect(SettingSchema.environmentNames.count == SettingSchema.keys.count)
        for name in SettingSchema.environmentNames.keys {
            #expect(!ServiceVariable.isOne(name) && !ConfigurationLoader.reservedEnvironmentNames.contains(name))
        }
        #expect(SettingSchema.environmentName(of: "rtmp.chunk_size") == "WEIR_RTMP_CHUNK_SIZE")
    }

    @Test("no key is also a mapping, and every key is documented by a sentence")
    func keys() {
        for section in SettingSchema.sections {
            for field in section.fields {
                #expect(!SettingSchema.mappings.contains(field.name))
                #expect(field.documentation.last == ".", "\(field.name)")
                #expect(section.name.isEmpty || field.name.hasPrefix("\(section.name)."), "\(field.name)")
            }
        }
    }

    @Test("every default is a value that its own key accepts", arguments: NodeSettings.Role.allCases)
    func defaultsAreValid(role: NodeSettings.Role) throws {
        var settings = NodeSettings(role: role)
        for section in SettingSchema.sections {
            for field in section.fields {
                try field.assign(field.write(settings), &settings)
            }
        }
        #expect(settings == NodeSettings(role: role))
    }

    @Test("what --print-config writes reads back as the same settings", arguments: NodeSettings.Role.allCases)
    func printedConfiguration(role: NodeSettings.Role) throws {
        let source =
            role == .coordinator
            ? "coordinator: { lease: 20s, database: '/a \"b\"\\c' }"
            : """
            rtmp: { listen: ["[::1]:1936", ":1937"], handshake_timeout: 1500ms }
            cluster: { origins: [a] }
            http.cors: []
            stream: { play.tcp_nodelay: on, gop_cache_maximum_bytes: 70000 }
            vhosts:
              - { name: b, domains: ["*.b", c], stream: { latency: low }, apps: { x: { latency: realtime }, y: } }
              - { name: "~" }
            """
        let settings = try load(source, role: role)
        let printed = ConfigurationPrinter.yaml(settings)
        #expect(try load(printed, role: role) == settings, "\(printed)")
    }

    @Test("--print-config shows no secret")
    func printedSecrets() throws {
        let printed = ConfigurationPrinter.yaml(try load("{ api.token: hunter2, cluster.secret: hunter3 }"))
        #expect(!printed.contains("hunter"))
        #expect(printed.contains("  # token: (set)"))
    }

    @Test("docs/configuration.md is what the schema says; `make docs` writes it")
    func reference() throws {
        let file = Self.root.appending(path: "docs/configuration.md")
        let committed = try String(contentsOf: file, encoding: .utf8)
        #expect(committed == ConfigurationReference.markdown(), "run `make docs` and commit docs/configuration.md")
    }

    @Test(
        "each file of cluster-configs/ is accepted by its program",
        arguments: [
            ("single-server", NodeSettings.Role.origin), ("origin", .origin), ("edge", .edge),
            ("coordinator", .coordinator),
        ])
    func clusterConfigurations(name: String, role: NodeSettings.Role) throws {
        let text = try String(contentsOf: Self.root.appending(path: "cluster-configs/\(name).yaml"), encoding: .utf8)
        #expect(problems(text, role: role) == [])
    }

    @Test("the files of cluster-configs/ are all tested here")
    func allClusterConfigurations() throws {
        let folder = Self.root.appending(path: "cluster-configs")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path())
            .filter { $0.hasSuffix(".yaml") }
        #expect(names.sorted() == ["coordinator.yaml", "edge.yaml", "origin.yaml", "single-server.yaml"])
    }

    @Test(
        "the help names the ports of the defaults and where the documentation is", arguments: NodeSettings.Role.allCases
    )
    func help(role: NodeSettings.Role) {
        let text = CommandHelp.discussion(of: role)
        #expect(text.contains(role == .coordinator ? "127.0.0.1:7000" : "0.0.0.0:1935"))
        #expect(text.contains("docs/configuration.md") && text.contains("EXAMPLES"))
        #expect(text.split(separator: "\n").allSatisfy { $0.count <= 80 }, "help is wrapped at 80 columns")
    }
}
