import GRDB
import Media
package import Placement

/// Which events a list is to show, and in which order.
package struct EventQuery: Sendable, Hashable {
    package static let limits = 1...1_000

    package var kind: ClusterEvent.Kind?
    package var node: NodeID?
    package var vhost: String?
    package var app: String?
    package var name: String?
    package var actor: String?
    /// Only from this time on and before that, in milliseconds since 1970.
    package var fromMillis: Int64?
    package var toMillis: Int64?
    /// Only what contains this text in any of its words, in whatever case of ASCII letters.
    package var text: String?
    package var isNewestFirst: Bool
    /// Goes on behind the event with this id, in the order of the list.
    package var after: Int64?
    package var limit: Int

    package init(isNewestFirst: Bool = false, after: Int64? = nil, limit: Int = 100) {
        self.isNewestFirst = isNewestFirst
        self.after = after
        self.limit = min(max(limit, Self.limits.lowerBound), Self.limits.upperBound)
    }
}

/// One page of the history.
package struct EventPage: Sendable, Hashable, Codable {
    package var events: [StoredEvent]
    /// `after` of the next page; `nil` on the last one.
    package var next: Int64?

    package init(events: [StoredEvent], next: Int64? = nil) {
        self.events = events
        self.next = next
    }
}

/// The cluster's history.
extension CoordinatorStore {
    /// One page of the events that `query` names. Errors: `unavailable`.
    package func events(_ query: EventQuery) async throws(CoordinatorStoreError) -> EventPage {
        try await self.reading { database in try EventTable.page(query, database) }
    }

    /// Events with an id above `after`, the oldest first, at most `limit`. Errors: `unavailable`.
    package func events(after: Int64, limit: Int) async throws(CoordinatorStoreError) -> [StoredEvent] {
        try await self.events(EventQuery(after: after, limit: limit)).events
    }

    /// The ids of the oldest and the newest event that is kept; `nil` without one. Errors: `unavailable`.
    package func eventRange() async throws(CoordinatorStoreError) -> ClosedRange<Int64>? {
        try await self.reading { database in
            let row = try Row.fetchOne(database, sql: "SELECT min(id) AS first, max(id) AS last FROM events")
            guard let row, let first: Int64 = row["first"], let last: Int64 = row["last"] else { return nil }
            return first...last
        }
    }
}

/// The SQL on the table of events.
enum EventTable {
    static func insert(
        _ event: ClusterEvent, atMillis: Int64, actor: String?, _ database: Database
    ) throws -> StoredEvent {
        try database.cachedStatement(
            sql: """
                INSERT INTO events (at_ms, kind, node, vhost, app, name, epoch, detail, actor)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            atMillis, event.kind.rawValue, event.node?.rawValue, event.key?.vhost, event.key?.app, event.key?.name,
            event.epoch.map { Int64(clamping: $0) }, event.detail, actor,
        ])
        return StoredEvent(id: database.lastInsertedRowID, atMillis: atMillis, event: event, actor: actor)
    }

    static func page(_ query: EventQuery, _ database: Database) throws -> EventPage {
        var conditions = ["TRUE"]
        var arguments = StatementArguments()
        func require(_ condition: String, _ values: (any DatabaseValueConvertible)...) {
            conditions.append(condition)
            arguments += StatementArguments(values)
        }
        if let kind = query.kind { require("kind = ?", kind.rawValue) }
        if let node = query.node { require("node = ?", node.rawValue) }
        if let vhost = query.vhost { require("vhost = ?", vhost) }
        if let app = query.app { require("app = ?", app) }
        if let name = query.name { require("name = ?", name) }
        if let actor = query.actor { require("actor = ?", actor) }
        if let from = query.fromMillis { require("at_ms >= ?", from) }
        if let to = query.toMillis { require("at_ms < ?", to) }
        if let text = query.text {
            let words = "kind || ' ' || ifnull(node, '') || ' ' || ifnull(vhost || '/' || app || '/' || name, '')"
            require(
                "\(words) || ' ' || ifnull(detail, '') || ' ' || ifnull(actor, '') LIKE ? ESCAPE '\\'",
                "%\(Self.escaped(text))%")
        }
        if let after = query.after { require(query.isNewestFirst ? "id < ?" : "id > ?", after) }
        // One more than asked for tells whether there is another page.
        let rows = try Row.fetchAll(
            database,
            sql: "SELECT * FROM events WHERE \(conditions.joined(separator: " AND ")) "
                + "ORDER BY id \(query.isNewestFirst ? "DESC" : "ASC") LIMIT \(query.limit + 1)",
            arguments: arguments)
        var page = EventPage(events: rows.prefix(query.limit).compactMap(Self.event))
        if rows.count > query.limit, let last = rows.dropLast().last { page.next = last["id"] }
        return page
    }

    /// `text` as LIKE takes it literally.
    private static func escaped(_ text: String) -> String {
        var escaped = ""
        for character in text.unicodeScalars {
            if character == "%" || character == "_" || character == "\\" { escaped += "\\" }
            escaped.unicodeScalars.append(character)
        }
        return escaped
    }

    /// `nil` for a kind that this version does not know.
    private static func event(_ row: Row) -> StoredEvent? {
        guard let kind = ClusterEvent.Kind(rawValue: row["kind"]) else { return nil }
        let node: String? = row["node"]
        let epoch: Int64? = row["epoch"]
        let event = ClusterEvent(
            kind: kind, node: node.flatMap { try? NodeID($0) }, key: StoreSchema.key(row),
            epoch: epoch.map { UInt64(clamping: $0) }, detail: row["detail"])
        return StoredEvent(id: row["id"], atMillis: row["at_ms"], event: event, actor: row["actor"])
    }
}
