import Exposition
import GB28181
import GB28181Server

extension NodeMetrics {
    static func gb28181(_ totals: GB28181Totals, _ metrics: inout Exposition) {
        metrics.family("weir_gb28181_devices", .gauge, "Devices of GB/T 28181, by whether they are there.") {
            $0.add(totals.onlineDevices, [MetricLabel("state", "online")])
            $0.add(totals.devices - totals.onlineDevices, [MetricLabel("state", "offline")])
        }
        metrics.value("weir_gb28181_channels", .gauge, "Channels that devices listed.", totals.channels)
        metrics.family("weir_gb28181_sessions", .gauge, "Sessions of media with devices, by whether media come.") {
            $0.add(totals.receiving, [MetricLabel("state", "receiving")])
            $0.add(totals.sessions - totals.receiving, [MetricLabel("state", "waiting")])
        }
        let platform = totals.platform
        metrics.family("weir_gb28181_messages_total", .counter, "SIP messages, by what became of them.") {
            $0.add(platform.received, [MetricLabel("kind", "received")])
            $0.add(platform.sent, [MetricLabel("kind", "sent")])
            $0.add(platform.retransmissions, [MetricLabel("kind", "sent_again")])
            $0.add(platform.malformed, [MetricLabel("kind", "malformed")])
            $0.add(platform.strangers, [MetricLabel("kind", "stranger")])
        }
        metrics.family("weir_gb28181_registrations_total", .counter, "Registrations, by their result.") {
            $0.add(platform.registrations, [MetricLabel("result", "accepted")])
            $0.add(platform.refusedRegistrations, [MetricLabel("result", "refused")])
        }
        metrics.value(
            "weir_gb28181_strangers_total", .counter, "Connections and packets of media that nobody expected.",
            totals.strangers)
    }
}
