import FoundationEssentials
import Logging
package import NIOCore
import NIOHTTP1
import Placement
import Synchronization

/// What a node's own API says to a request that came by way of the coordinator.
package struct NodeAnswer: Sendable, Hashable {
    package var status: Int
    package var contentType: String
    /// At most `NodeResponse.maximumBodyBytes`; a longer one is not sent.
    package var body: ByteBuffer

    package init(status: Int, contentType: String, body: ByteBuffer) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    static func problem(_ name: String, _ title: String, status: Int) -> NodeAnswer {
        let problem = ProblemDetails(type: ProblemDetails.typePrefix + name, title: title, status: status)
        let data = (try? JSONEncoder().encode(problem)) ?? Data()
        return NodeAnswer(status: status, contentType: "application/problem+json", body: ByteBuffer(bytes: data))
    }
}

/// Requests of the cluster's API that this node answers: fetched by a long poll, so that the node needs no port that the
/// coordinator can reach.
extension ClusterLink {
    /// The poll comes back in this time with nothing; less than the time after which a silent connection is dead.
    private static let requestWaitMillis: Int64 = 10_000
    /// Requests that are answered at the same time. While all places are taken, no more are fetched.
    static let maximumRequests = 16
    /// The longest that a request may take, whatever it says.
    private static let maximumRequestMillis: Int64 = 60_000
    private static let maximumPathBytes = 8 << 10
    /// How often a coordinator that does not know of node requests is asked again.
    private static let unsupportedPause = Duration.seconds(300)

    /// Fetches requests and answers them, for as long as the link runs.
    func runRequests() async {
        guard let handler = self.mutex.withLock({ $0.handlers.onRequest }) else { return }
        let (places, place) = AsyncStream.makeStream(
            of: Void.self, bufferingPolicy: .bufferingOldest(Self.maximumRequests))
        for _ in 0..<Self.maximumRequests { place.yield() }
        await withDiscardingTaskGroup { tasks in
            var free = places.makeAsyncIterator()
            var failures = 0
            while !Task.isCancelled {
                do throws(CoordinatorCallError) {
                    let batch = try await self.fetchRequests()
                    let received = ContinuousClock.now
                    failures = 0
                    for request in batch {
                        guard await free.next() != nil else { return }
                        tasks.addTask {
                            await self.serve(request, received: received, handler: handler)
                            place.yield()
                        }
                    }
                } catch {
                    failures += 1
                    guard await self.pause(after: error, failures: failures) else { return }
                }
            }
        }
    }

    private func fetchRequests() async throws(CoordinatorCallError) -> [NodeRequest] {
        guard let client = await self.connectedClient() else { throw .unreachable("not connected") }
        let node = self.configuration.node
        let instance = CoordinatorClient.escape(node.instance)
        let request = client.request(
            self.url("nodes/\(node.id)/requests?instance=\(instance)&wait=\(Self.requestWaitMillis)"), method: .GET)
        let started = ContinuousClock.now
        let batch = try await client.answer(
            to: request, deadline: .milliseconds(Self.requestWaitMillis) + .seconds(5), as: NodeRequests.self)
        if batch.requests.isEmpty,
            ContinuousClock.now - started < .milliseconds(self.configuration.minimumBackoffMillis)
        {
            // Somebody on the way answers for the coordinator, or it does not wait: no reason to ask in a circle.
            throw .unreachable("the poll does not wait")
        }
        return batch.requests
    }

    /// Waits before the next attempt. Returns false when the link ends.
    private func pause(after error: CoordinatorCallError, failures: Int) async -> Bool {
        if error.isUnknownRoute {
            self.logger.debug("the coordinator has no node requests")
            return await self.pauseUntilNewConnection(Self.unsupportedPause)
        }
        if error.problemName == "unknown-node" { self.joinAnew() }
        let limit = self.configuration.maximumBackoffMillis
        let millis = min(self.configuration.minimumBackoffMillis << Int64(min(failures - 1, 16)), limit)
        let jittered = max(1, Int64(Double(millis) * Double.random(in: 0.5...1)))
        do { try await Task.sleep(for: .milliseconds(jittered)) } catch { return false }
        return true
    }

    /// A coordinator that was replaced by a newer one was away for a moment.
    private func pauseUntilNewConnection(_ limit: Duration) async -> Bool {
        let losses = self.mutex.withLock { $0.lossCount }
        let end = ContinuousClock.now + limit
        while ContinuousClock.now < end, self.mutex.withLock({ $0.lossCount }) == losses {
            do { try await Task.sleep(for: .seconds(1)) } catch { return false }
        }
        return true
    }

    private func serve(
        _ request: NodeRequest, received: ContinuousClock.Instant,
        handler: @escaping @Sendable (NodeRequest) async -> NodeAnswer
    ) async {
        let limit = received + .milliseconds(min(max(request.deadlineMillis, 1), Self.maximumRequestMillis))
        var answer = Self.refusal(of: request)
        if answer == nil { answer = await Self.answer(request, until: limit, handler) }
        guard var answer, ContinuousClock.now < limit else { return }
        if answer.body.readableBytes > NodeResponse.maximumBodyBytes {
            answer = .problem("answer-too-large", "The node's answer is too large.", status: 502)
        }
        await self.respond(to: request, answer, until: limit)
    }

    /// Nobody can send what is not in the API's form; a coordinator that does is not understood.
    private static func refusal(of request: NodeRequest) -> NodeAnswer? {
        guard ["GET", "POST", "PUT", "DELETE"].contains(request.method) else {
            return .problem("method-not-allowed", "The method is not allowed.", status: 405)
        }
        let isPath =
            request.path.hasPrefix("/") && request.path.utf8.count <= self.maximumPathBytes
            && request.path.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
        return isPath ? nil : .problem("bad-request", "The path cannot be understood.", status: 400)
    }

    /// The handler's answer, or `nil` if it took too long, in which case it is cancelled.
    private static func answer(
        _ request: NodeRequest, until limit: ContinuousClock.Instant,
        _ handler: @escaping @Sendable (NodeRequest) async -> NodeAnswer
    ) async -> NodeAnswer? {
        await withTaskGroup(of: NodeAnswer?.self) { tasks in
            tasks.addTask { await handler(request) }
            tasks.addTask {
                try? await Task.sleep(until: limit, clock: .continuous)
                return nil
            }
            let first = await tasks.next() ?? nil
            tasks.cancelAll()
            return first
        }
    }

    /// Sends the answer; a second time if the connection broke and there is time.
    private func respond(to request: NodeRequest, _ answer: NodeAnswer, until limit: ContinuousClock.Instant) async {
        let response = NodeResponse(
            instance: self.configuration.node.instance, id: request.id, status: answer.status,
            contentType: answer.contentType, body: Data(answer.body.readableBytesView).base64EncodedString())
        for _ in 0..<2 where ContinuousClock.now < limit {
            guard let client = await self.connectedClient() else { return }
            do throws(CoordinatorCallError) {
                let url = self.url("nodes/\(self.configuration.node.id)/responses")
                _ = try await client.post(url, response, as: EmptyAnswer.self)
                return
            } catch {
                guard case .unreachable = error else {
                    // Too late, or the coordinator restarted since it asked.
                    return self.logger.debug("an answer was not wanted", metadata: ["reason": "\(error.text)"])
                }
            }
        }
    }
}
