/// Writes `docs/configuration.md` from the schema, so that the two cannot differ.
package enum ConfigurationReference {
    /// The whole document, in Markdown.
    package static func markdown() -> String {
        var lines = self.introduction
        for section in SettingSchema.sections {
            lines.append("## \(section.name.isEmpty ? "Top level" : "`\(section.name)`")")
            lines.append("")
            lines.append("\(section.documentation) Read by: \(section.roles.map(\.rawValue).joined(separator: ", ")).")
            lines.append("")
            lines += Self.table(section.fields, root: NodeSettings(role: .origin), showsEnvironment: true)
            lines.append("")
        }
        lines += self.vhosts
        return lines.joined(separator: "\n") + "\n"
    }

    private static let introduction: [String] = """
        # Configuration

        <!-- Made from the schema in Sources/Shared/Node/NodeConfiguration by `make docs`; a test compares the two. -->

        Each of the three programs reads its settings once, at its start, in this order; later sources win:

        1. the defaults below, with which an origin is a complete single server;
        2. the YAML file that `--config` names (or the variable `WEIR_CONFIG`);
        3. environment variables: `WEIR_` and the key in capitals, with `_` for each dot;
        4. `--set KEY=VALUE`, which may be repeated.

        A key that does not exist, a value of the wrong kind or out of range, and settings that contradict each other are
        errors, all reported at once, with their place and the nearest key that exists. `--check-config` only checks;
        `--print-config` shows what is in force. Settings of another role are errors, except in the environment, where
        they are passed over, so that all containers can share one environment file. `WEIR_BUILD` and the variables that
        Kubernetes makes of services (`WEIR_EDGE_SERVICE_HOST`, `WEIR_EDGE_PORT_1935_TCP`, …) are no settings.

        In YAML, `rtmp.listen: …` is short for `listen` in a mapping `rtmp`.

        - **Durations** have a unit: `350ms`, `1.5s`, `10s`, `5min`, `2h`, `7d`.
        - **Sizes** are bytes, or have a unit: `4096`, `512KiB`, `8MiB`, `2MB`.
        - **Addresses** are `HOST:PORT`, `[::1]:1935`, or `:1935` for all IPv4 addresses. Port 0 lets the system choose.
        - **Lists** are YAML lists; a single value may stand alone. In the environment and with `--set`, commas separate.
        - **Secrets** are printable ASCII without spaces, and are never printed or logged.

        """.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)

    private static let vhosts: [String] =
        """
        ## `vhosts`

        Tenants of one cluster. Read by: origin, edge; from the file only. A list of mappings:

        """.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        + table(VhostDraft.fields, root: VhostDraft(), showsEnvironment: false, emptyDefault: "")
            + """
            | `stream` | mapping | | Keys of the section `stream` that differ for this vhost. |
            | `apps` | mapping | | By the name of the app: keys of the section `stream` that differ for it. |

            A `?vhost=` parameter chooses a vhost by its name; else the host of the RTMP `tcUrl` or of the HTTP `Host` header
            chooses the vhost that lists it, exact names before wildcards. Other hosts belong to `__defaultVhost__`, which
            may be listed, too.

            ```yaml
            vhosts:
              - name: sports
                domains: [live.sports.example, "*.sports.example"]
                stream:
                  latency: low
                apps:
                  interview:
                    latency: realtime
            ```
            """.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)

    private static func table<Root>(
        _ fields: [SettingField<Root>], root: Root, showsEnvironment: Bool, emptyDefault: String = "empty"
    ) -> [String] {
        var lines = ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
        for field in fields {
            let texts = field.write(root).filter { !$0.isEmpty }
            let value = texts.isEmpty ? emptyDefault : texts.map { "`\($0)`" }.joined(separator: ", ")
            let variable = showsEnvironment ? "<br>`\(SettingSchema.environmentName(of: field.name))`" : ""
            let shown = field.computedDefault ?? value
            lines.append(
                "| `\(field.name)`\(variable) | \(field.syntax) |\(shown.isEmpty ? "" : " \(shown)") | \(field.documentation) |"
            )
        }
        return lines
    }
}
