import MediaObjects
import NIOCore
import NIOHTTP1
import StreamHub

/// Requests for files of streams.
extension MediaHTTPHandler {
    func begin(_ request: ObjectHTTPRequest, _ fields: RequestFields) {
        switch fields.method {
        case .GET, .HEAD: break
        case .OPTIONS: return self.send(.methods(isAllowed: true), fields)
        default: return self.send(.methods(isAllowed: false), fields)
        }
        guard let wire = self.wire, let objects = self.services.objects else { return }
        self.answer(for: nil)
        let object: MediaObjectRequest
        do throws(ObjectRequestError) {
            object = try self.object(request, fields)
        } catch {
            return self.send(ObjectResponse(error.status, error.detail), fields)
        }
        let access = self.access(request, fields)
        let loop = wire.context.eventLoop
        guard let gate = self.configuration.objectGate else {
            return self.answer(objects.reply(to: object, on: loop), fields)
        }
        switch gate.admit(object, access, on: loop) {
        case .now(.success(let account)):
            self.answer(for: account)
            self.answer(objects.reply(to: object, on: loop), fields)
        case .now(.failure(let refusal)): self.send(ObjectResponse(refusal.status, refusal.text), fields)
        case .later(let verdict):
            self.exchange(fields) { exchange in
                exchange.wait(for: verdict) { account in
                    self.answer(for: account)
                    return objects.reply(to: object, on: loop)
                }
            }
        }
    }

    private func answer(_ reply: MediaObjectReply, _ fields: RequestFields) {
        switch reply {
        case .now(let answer): self.send(ObjectResponse(answer, to: fields), fields)
        case .later(let answer): self.exchange(fields) { $0.wait(for: answer) }
        }
    }

    private func object(
        _ request: ObjectHTTPRequest, _ fields: RequestFields
    ) throws(ObjectRequestError) -> MediaObjectRequest {
        var hops = 0
        if fields.node != nil || fields.hops != nil {
            let text = fields.hops ?? "1"
            guard (1...3).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                let count = Int(text)
            else { throw .hops }
            guard count <= self.configuration.maximumHops else { throw .loop(hops: count) }
            hops = count
        }
        return try request.request(vhost: self.configuration.vhost(request.vhost ?? request.host), hops: hops)
    }

    private func access(_ request: ObjectHTTPRequest, _ fields: RequestFields) -> MediaObjectAccess {
        MediaObjectAccess(
            host: request.host, address: self.peer, isSecure: self.configuration.isTLS, query: String(request.query),
            authorization: fields.authorization, node: fields.node, signedPath: request.signedPath,
            userAgent: fields.userAgent, referer: fields.referer, forwardedAddress: self.forwardedAddress(fields))
    }

    /// Sends an answer: at once if that can be, else as an exchange.
    func send(_ response: ObjectResponse, _ fields: RequestFields) {
        guard let wire = self.wire else { return }
        if wire.writeWhole(response, to: fields) {
            self.answered(isLast: fields.isLast)
        } else {
            self.exchange(fields) { $0.send(response) }
        }
    }

    private func exchange(_ fields: RequestFields, _ begin: (ObjectExchange) -> Void) {
        guard let wire = self.wire else { return }
        let exchange = ObjectExchange(fields: fields, wire: wire, now: .now()) { end in
            guard case .object = self.activity else { return }
            switch end {
            case .complete: self.answered(isLast: fields.isLast || self.isQuiescing)
            case .broken: wire.context.close(promise: nil)
            }
        }
        self.activity = .object(exchange)
        begin(exchange)
    }
}
