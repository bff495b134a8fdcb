extension CoordinatorConfigurationError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .portOutOfRange(let port): "the coordinator cannot listen on port \(port): ports are 0 to 65535"
        case .missingDatabasePath: "coordinator.database is empty"
        case .missingSecret(let host): "cluster.secret is missing, and is required to listen on \(host)"
        case .notPositive(let name): "coordinator.\(name) has to be more than 0"
        case .timesOutOfOrder:
            "it must hold: cluster.heartbeat < coordinator.suspect_after < coordinator.dead_after <= coordinator.lease"
        case .adminTokenTooShort:
            "coordinator.admin_token has fewer than \(CoordinatorConfiguration.minimumTokenBytes) bytes"
        case .desiredEdges: "coordinator.desired: no number may be negative, and target_load is 1 to 100"
        }
    }
}
