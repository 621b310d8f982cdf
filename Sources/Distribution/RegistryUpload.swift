// SPDX-License-Identifier: Apache-2.0

import Compression
import Content
import HTTP
import Linux
import OCI

/// A blob on its way into a registry, whose digest turns out as it is written.
///
/// While one chunk is sent, the next is gathered: two are in memory. A blob that fits into one is
/// sent whole, and only if it is not there.
final class RegistryUpload: BlobUpload {
    private let client: RegistryClient
    private let host: RegistryHost
    private var digest = StreamingDigest()
    private var size: UInt64 = 0
    private var filling = HTTPBody(capacity: chunkSize)
    private var sender: ChunkSender?

    /// The size of a chunk in bytes: as large as object stores behind registries want their parts.
    private static let chunkSize = 16 << 20

    init(_ client: RegistryClient, at host: RegistryHost) {
        self.client = client
        self.host = host
    }

    deinit {
        sender?.stop()
    }

    private(set) var isLost = false

    func write(_ bytes: RawSpan) throws(ContentError) {
        digest.update(bytes)
        size &+= UInt64(bytes.byteCount)
        var done = 0
        while done < bytes.byteCount {
            if filling.room == 0 {
                let sender = try startedSender()
                filling = try noting(sender) { () throws(ContentError) in
                    try sender.exchange(filling)
                }
            }
            let count = min(filling.room, bytes.byteCount - done)
            filling.append(bytes.extracting(done..<done + count))
            done += count
        }
    }

    private func startedSender() throws(ContentError) -> ChunkSender {
        if let sender { return sender }
        guard case .session(let session) = try UploadSession.begin(client, at: host) else {
            throw .corrupt("\(client.place): an upload ended before it began")
        }
        let started = try ChunkSender(session, spare: HTTPBody(capacity: Self.chunkSize))
        sender = started
        return started
    }

    func commit() throws(ContentError) -> (digest: Digest, size: UInt64) {
        let found = digest.finish()
        guard let sender else {
            try sendWhole(found)
            return (found, size)
        }
        try noting(sender) { () throws(ContentError) in
            if filling.count > 0 { _ = try sender.exchange(filling) }
            try sender.finish().finish(found, size: size, nil)
        }
        self.sender = nil
        return (found, size)
    }

    /// Takes note of whether the registry has lost the upload, if the body fails.
    private func noting<T>(
        _ sender: ChunkSender,
        _ body: () throws(ContentError) -> T
    ) throws(ContentError) -> T {
        do throws(ContentError) {
            return try body()
        } catch {
            isLost = sender.isLost
            throw error
        }
    }

    private func sendWhole(_ found: Digest) throws(ContentError) {
        let blob = Descriptor(mediaType: MediaType(""), digest: found, size: size)
        guard try !client.hasBlob(blob, at: host),
            case .session(let session) = try UploadSession.begin(client, at: host)
        else { return }
        do throws(ContentError) {
            try session.finish(found, size: size, filling)
        } catch {
            isLost = session.isLost
            throw error
        }
    }
}

/// Sends chunks in a thread of its own, one after the other.
private final class ChunkSender: Sendable {
    private struct State {
        /// The chunk that waits to be sent, or is being sent.
        var pending: HTTPBody?
        /// The body that waits to be filled; nil while it is with the writer or pending.
        var spare: HTTPBody?
        var isStopped = false
        var hasEnded = false
        var failure: ContentError?
        var session: UploadSession?
    }

    private let state: Monitor<State>

    init(_ session: UploadSession, spare: HTTPBody) throws(ContentError) {
        let state = Monitor(State(spare: spare, session: session))
        self.state = state
        try systemCall { () throws(SystemError) in
            try WorkerThread(name: "upload") { Self.run(state) }.detach()
        }
    }

    private static func run(_ state: Monitor<State>) {
        while true {
            let body = state.wait { state -> HTTPBody?? in
                if let body = state.pending, state.failure == nil { return .some(body) }
                return state.isStopped ? .some(nil) : nil
            }
            guard let body else { break }
            var failure: ContentError?
            // Nobody else has it while a chunk is pending.
            let session = state.update { $0.session }
            do throws(ContentError) {
                try session?.send(body)
            } catch {
                failure = error
            }
            body.removeAll()
            state.update { state in
                state.failure = failure
                state.pending = nil
                state.spare = body
            }
        }
        state.update { $0.hasEnded = true }
    }

    /// Hands a full body over, once the one before it is sent.
    ///
    /// - Returns: an empty one.
    /// - Throws: `ContentError` if the one before could not be sent.
    func exchange(_ body: HTTPBody) throws(ContentError) -> HTTPBody {
        try state.wait { state -> Result<HTTPBody, ContentError>? in
            if let failure = state.failure { return .failure(failure) }
            guard state.pending == nil, let spare = state.spare else { return nil }
            state.pending = body
            state.spare = nil
            return .success(spare)
        }.get()
    }

    /// Waits until all is sent, and gives the session back.
    func finish() throws(ContentError) -> UploadSession {
        stop()
        return try state.wait { state -> Result<UploadSession, ContentError>? in
            if let failure = state.failure { return .failure(failure) }
            guard state.hasEnded else { return nil }
            return state.session.map { .success($0) } ?? .failure(.corrupt("no upload"))
        }.get()
    }

    /// Whether the registry has lost the upload; asked after a failure.
    var isLost: Bool { state.update { $0.session?.isLost ?? false } }

    /// Lets the thread go once nothing is left to be sent.
    func stop() {
        state.update { $0.isStopped = true }
    }
}
