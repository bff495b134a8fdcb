import StreamHub

/// Counts the bytes of a connection's answers for those whose answers they are: for a viewer that comes by single requests
/// is told by each request. Confined to the connection's event loop.
final class AnswerBytes {
    private var account: SessionAccount?
    /// What was counted for `account` since it became the one.
    private var count = 0

    /// The answers from now on are for `account`, or for nobody.
    func begin(_ account: SessionAccount?) {
        guard account !== self.account else { return }
        self.account = account
        self.count = 0
    }

    func add(_ count: Int) {
        guard let account = self.account else { return }
        account.sent(count)
        self.count += count
    }

    /// The connection ended, and so many bytes never left: those of the newest answers.
    func lost(_ count: Int) {
        let lost = min(count, self.count)
        guard let account = self.account, lost > 0 else { return }
        account.unsent(lost)
        self.count -= lost
    }
}
