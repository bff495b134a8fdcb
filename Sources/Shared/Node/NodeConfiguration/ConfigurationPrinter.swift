/// Writes settings as the YAML that would make them.
package enum ConfigurationPrinter {
    /// The effective settings of `settings.role`, one key a line, secrets left out.
    ///
    /// Read back as a file, the text gives the same settings, except for the secrets.
    package static func yaml(_ settings: NodeSettings) -> String {
        var writer = YAMLWriter()
        writer.lines.append("# The effective settings of the \(settings.role.rawValue). Secrets are not shown.")
        for section in SettingSchema.sections where section.roles.contains(settings.role) {
            for field in section.fields {
                writer.write(field, of: settings)
            }
        }
        if !settings.vhosts.isEmpty {
            writer.path = []
            writer.lines.append("vhosts:")
            for vhost in settings.vhosts {
                Self.write(vhost, base: settings.stream, to: &writer)
            }
        }
        return writer.lines.joined(separator: "\n") + "\n"
    }

    private static func write(_ vhost: VhostSettings, base: StreamSettings, to writer: inout YAMLWriter) {
        let domains = vhost.domains.map { YAMLWriter.quote($0.description) }.joined(separator: ", ")
        writer.lines.append("  - name: \(YAMLWriter.quote(vhost.name))")
        writer.lines.append("    domains: [\(domains)]")
        if vhost.stream != base {
            writer.lines.append("    stream:")
            writer.writeDifference(vhost.stream, from: base, indentation: 3)
        }
        guard !vhost.apps.isEmpty else { return }
        writer.lines.append("    apps:")
        for (name, stream) in vhost.apps.sorted(by: { $0.key < $1.key }) {
            writer.lines.append("      \(YAMLWriter.quote(name)):\(stream == vhost.stream ? " {}" : "")")
            writer.writeDifference(stream, from: vhost.stream, indentation: 4)
        }
    }
}

/// Turns flat key paths into nested YAML.
struct YAMLWriter {
    var lines: [String] = []
    /// The mappings that are open.
    var path: [Substring] = []

    mutating func write<Root>(_ field: SettingField<Root>, of root: Root, indentation: Int = 0) {
        let parts = field.name.split(separator: ".")
        let parents = parts.dropLast()
        let common = zip(self.path, parents).prefix { $0 == $1 }.count
        self.path = Array(parents)
        for (depth, parent) in parents.enumerated().dropFirst(common) {
            self.lines.append("\(Self.indent(indentation + depth))\(parent):")
        }
        let key = "\(Self.indent(indentation + parents.count))\(parts[parents.count])"
        let texts = field.write(root)
        if field.isSecret {
            let isSet = texts.contains { !$0.isEmpty }
            self.lines.append(isSet ? "\(key.commented): (set)" : "\(key): \(field.isList ? "[]" : "\"\"")")
        } else if field.isList {
            self.lines.append("\(key): [\(texts.map(Self.quote).joined(separator: ", "))]")
        } else {
            self.lines.append("\(key): \(Self.quote(texts[0]))")
        }
    }

    mutating func writeDifference(_ stream: StreamSettings, from base: StreamSettings, indentation: Int) {
        self.path = []
        for field in SettingSchema.stream where field.write(stream) != field.write(base) {
            self.write(field, of: stream, indentation: indentation)
        }
    }

    static func indent(_ level: Int) -> String {
        String(repeating: "  ", count: level)
    }

    /// Plain where YAML reads the same text back, else in double quotes.
    static func quote(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "/"),
                UInt8(ascii: "-"):
                true
            default: false
            }
        }
        let isSafe = isPlain && !text.isEmpty && text.first != "-" && text != "null" && text != "Null" && text != "NULL"
        guard !isSafe else { return text }
        let escaped = text.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined()
        return "\"\(escaped)\""
    }
}

extension String {
    /// As a comment at the same indentation.
    fileprivate var commented: String {
        let spaces = self.prefix { $0 == " " }
        return "\(spaces)# \(self.dropFirst(spaces.count))"
    }
}
