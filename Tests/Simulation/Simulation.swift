import ArgumentParser
import Glibc
import NIOCore

/// Runs the placement rules against faults, a virtual minute and a half for each seed.
@main
struct Simulation: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weir-simulation",
        abstract: "Runs the placement rules on a virtual network with faults, and checks what must always hold.",
        discussion: """
            Set SWIFT_DETERMINISTIC_HASHING=1, or a seed does not repeat the same run. Exits with 1 when a rule was \
            violated; the seeds are printed, and `--seed N --verbose` shows the run again.
            """)

    @Option(help: "The seeds to run, from the first.")
    var count = 1_000
    @Option(help: "The first seed.")
    var from: UInt64 = 1
    @Option(help: "Runs this seed alone.")
    var seed: UInt64?
    @Option(help: "Runs beside each other.")
    var jobs = 2
    @Flag(help: "Prints what happened in a failed run, and in one that was asked for by --seed.")
    var verbose = false

    struct Outcome: Sendable {
        var seed: UInt64
        var failures: [String]
        var history: [String]
        var steps: Int
        var reads: Int
    }

    mutating func validate() throws {
        guard self.count > 0, self.jobs > 0 else { throw ValidationError("--count and --jobs are at least 1.") }
    }

    func run() async throws {
        let seeds = self.seed.map { [$0] } ?? (0..<UInt64(self.count)).map { self.from + $0 }
        let jobs = min(self.jobs, seeds.count)
        var failed: [Outcome] = []
        var (steps, reads) = (0, 0)
        await withTaskGroup(of: [Outcome].self) { group in
            for job in 0..<jobs {
                group.addTask {
                    stride(from: job, to: seeds.count, by: jobs).map { Self.outcome(seeds[$0]) }
                }
            }
            for await outcomes in group {
                for outcome in outcomes {
                    steps += outcome.steps
                    reads += outcome.reads
                    if !outcome.failures.isEmpty { failed.append(outcome) }
                    if self.verbose, self.seed != nil { print(outcome.history.joined(separator: "\n")) }
                }
            }
        }
        for outcome in failed.sorted(by: { $0.seed < $1.seed }).prefix(20) {
            print("seed \(outcome.seed):\n  \(outcome.failures.joined(separator: "\n  "))")
            if self.verbose, self.seed == nil { print(outcome.history.suffix(80).joined(separator: "\n")) }
        }
        print("\(seeds.count) seeds, \(steps) steps, \(reads) playlists read, \(failed.count) seeds failed")
        guard failed.isEmpty else {
            print("repeat one: SWIFT_DETERMINISTIC_HASHING=1 weir-simulation --verbose --seed N")
            throw ExitCode(1)
        }
    }

    private static func outcome(_ seed: UInt64) -> Outcome {
        do {
            let world = try World(seed: seed)
            world.run()
            return Outcome(
                seed: seed, failures: world.failures, history: world.history, steps: world.scheduler.steps,
                reads: world.reads)
        } catch {
            return Outcome(
                seed: seed, failures: ["the world cannot be made: \(error)"], history: [], steps: 0, reads: 0)
        }
    }
}
