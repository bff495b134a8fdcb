import NIOCore
import SRSConfig
import Testing

@testable import NodeConfiguration

@Suite("Settings of GB/T 28181")
struct GB28181SettingsTests {
    @Test("no devices are taken unless that is wanted")
    func defaults() {
        let settings = NodeSettings(role: .origin).gb28181
        #expect(!settings.isEnabled && settings.listen.map(\.description) == ["0.0.0.0:5060"])
        #expect(settings.realm == "3402000000" && settings.mediaListen.port == 9_000)
        #expect(settings.transport == .tcpPassive && settings.invites == .onDemand)
    }

    @Test("every key is read from YAML")
    func keys() throws {
        let settings = try load(
            """
            gb28181:
              enabled: yes
              listen: ["127.0.0.1:5061"]
              server_id: "11010500002000000001"
              domain: "1101050000"
              password: s3cret
              devices: ["11010500001110000001", "11010500001110000002=0wn=x"]
              maximum_devices: 7
              subscribe: [alarm, position]
              media_listen: 127.0.0.1:9001
              media_host: cameras.example.com
              session_ports: 30000-30010
              transport: udp
              invite: always
              vhost: cameras
              app: gb
              stream_name: "[channel]"
              keepalive_timeout: 1min
              catalog_interval: 0s
              invite_timeout: 5s
              media_timeout: 4s
              reinvite_delay: 3s
              idle_timeout: 1min
              demand_wait: 8s
              reorder_wait: 50ms
              utc_offset: -60
            """
        ).gb28181
        #expect(settings.isEnabled && settings.serverID == "11010500002000000001" && settings.realm == "1101050000")
        #expect(settings.devices.map(\.id) == ["11010500001110000001", "11010500001110000002"])
        #expect(settings.devices.map { $0.password?.value } == [nil, "0wn=x"])
        #expect(settings.password.value == "s3cret" && settings.maximumDevices == 7)
        #expect(settings.subscriptions == ["alarm", "position"] && settings.mediaHost == "cameras.example.com")
        #expect(settings.sessionPorts == PortRange(first: 30_000, last: 30_010))
        #expect(settings.transport == .udp && settings.invites == .always)
        #expect(settings.vhost == "cameras" && settings.app == "gb" && settings.streamName == "[channel]")
        #expect(settings.keepaliveTimeout == .minutes(1) && settings.catalogInterval == .zero)
        #expect(settings.inviteTimeout == .seconds(5) && settings.mediaTimeout == .seconds(4))
        #expect(settings.reinviteDelay == .seconds(3) && settings.idleTimeout == .minutes(1))
        #expect(settings.demandWait == .seconds(8) && settings.reorderWait == .milliseconds(50))
        #expect(settings.utcOffsetMinutes == -60)
    }

    @Test(
        "what cannot be, or contradicts other settings, is refused",
        arguments: [
            "server_id: 12", "devices: [a b]", "subscribe: [everything]", "transport: sctp",
            "stream_name: camera", "stream_name: \"[channel]?x\"", "session_ports: 30000", "session_ports: 30010-30000",
            "media_listen: 0.0.0.0:30005\n  session_ports: 30000-30010",
            "media_listen: 0.0.0.0:5060", "listen: [\"0.0.0.0:1935\"]",
        ])
    func refused(_ line: String) {
        let yaml = "gb28181:\n  enabled: yes\n  \(line)\n"
        #expect(!problems(yaml).isEmpty)
        #expect(problems(yaml).allSatisfy { "\($0)".contains("gb28181.") })
    }

    @Test("SRS's caster becomes the same with its ports, for all channels")
    func srs() throws {
        let text = """
            listen 1935;
            stream_caster { enabled on; caster gb28181; output rtmp://127.0.0.1/cameras/[stream]; listen 9010;
                            sip { enabled on; listen 5070; timeout 2.1; reinvite 1.2; candidate 192.0.2.7; } }
            """
        let result = SRSImport(try SRSConfigParser.parse(text.utf8), path: "srs.conf", role: .origin)
        let settings = try load(result.yaml).gb28181
        #expect(settings.isEnabled && settings.invites == .always && settings.mediaListen.port == 9_010)
        #expect(settings.listen.map(\.port) == [5_070] && settings.app == "cameras")
        #expect(settings.streamName == "[channel]" && settings.mediaHost == "192.0.2.7")
        #expect(settings.inviteTimeout == .milliseconds(2_100) && settings.reinviteDelay == .milliseconds(1_200))
    }
}
