// SPDX-License-Identifier: Apache-2.0

import Content
import HTTP
import OCI

/// A blob of a registry, front to back, taken up again where a connection broke.
struct RegistryBlobStream: ~Copyable, ByteStream {
    private let reader: BlobReader

    init(_ reader: BlobReader) {
        self.reader = reader
    }

    mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int {
        try unsafe reader.read(into: buffer)
    }
}

/// Reads a blob and survives its connections; used by one thread at a time.
final class BlobReader: WholeBlob {
    private let client: RegistryClient
    private let blob: Descriptor
    private var stream: HTTPResponseStream?
    /// How many bytes were read.
    private(set) var position: UInt64 = 0
    private(set) var servers = BlobServers()
    private let policy: RetryPolicy

    /// Opens the blob.
    ///
    /// - Parameters:
    ///   - client: the repository.
    ///   - blob: names it.
    ///   - policy: how failures are dealt with; nil for the usual way with whole blobs.
    /// - Throws: `ContentError` if there is no such blob.
    init(
        _ client: RegistryClient,
        _ blob: Descriptor,
        policy: RetryPolicy? = nil
    ) throws(ContentError) {
        self.client = client
        self.blob = blob
        self.policy = policy ?? client.access.retry
        stream = try open(self.policy)
    }

    /// Opens the blob where it was left.
    private func open(_ policy: RetryPolicy) throws(ContentError) -> HTTPResponseStream {
        let (stream, host) = try client.openBlob(blob, at: position, policy: policy)
        servers.insert(host)
        return stream
    }

    /// Reads the next bytes; 0 at the end.
    ///
    /// Each read may fail as often as the policy says: a connection that breaks every gigabyte
    /// does not keep a blob of twenty from being read.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(ContentError) -> Int {
        guard position < blob.size else { return 0 }
        let object = "blob \(blob.digest) from byte \(position)"
        let once = RetryPolicy(attempts: 1, duration: policy.duration)
        var refusal: ContentError?
        do throws(HTTPError) {
            return try policy.run { (_) throws(HTTPError) -> Int in
                if stream == nil {
                    do throws(ContentError) {
                        stream = try open(once)
                    } catch {
                        refusal = error
                        let kind: HTTPError.Kind =
                            error.kind == .inputOutput ? .interrupted : .cancelled
                        throw HTTPError(kind, error.message)
                    }
                }
                refusal = nil
                return try unsafe readOnce(buffer)
            }
        } catch {
            throw refusal ?? client.contentError(error, object)
        }
    }

    private func readOnce(_ buffer: UnsafeMutableRawBufferPointer) throws(HTTPError) -> Int {
        do throws(HTTPError) {
            let count = try unsafe stream?.read(into: buffer) ?? 0
            guard count > 0 else {
                throw HTTPError(.interrupted, "ends at byte \(position) of \(blob.size)")
            }
            guard UInt64(count) <= blob.size - position else {
                throw HTTPError(.malformed, "more than the expected \(blob.size) bytes")
            }
            position += UInt64(count)
            return count
        } catch {
            stream = nil
            throw error
        }
    }
}
