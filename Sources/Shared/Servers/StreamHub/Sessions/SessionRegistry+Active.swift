import Synchronization

extension SessionRegistry {
    /// Every session that publishes or plays, with what it does, in no order. Cost: a look at each of them.
    package var activities: [(account: SessionAccount, activity: SessionActivity)] {
        let accounts = self.state.withLock { state in state.active.values.flatMap { Array($0) } }
        return accounts.compactMap { account in account.activity.map { (account, $0) } }
    }
}
