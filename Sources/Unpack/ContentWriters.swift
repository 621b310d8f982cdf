// SPDX-License-Identifier: Apache-2.0

import ChunkCache
import Content
import Linux
import RAFS

/// The threads that fetch, decompress, verify and write the files' contents.
final class ContentWriters: Sendable {
    /// Some successive chunks of a file.
    struct Part: Sendable {
        var file: OutputFile
        var chunks: Range<Int>
    }

    private enum Order: Sendable {
        case write(Part)
        case end
    }

    private struct State {
        var parts: [Part] = []
        var isClosed = false
        var failure: (any Error)?
    }

    /// Chunks of one file that one thread takes at once.
    static let partSize = 16
    /// Parts that may wait; each may hold a file open.
    private static let queueLimit = 256

    private let metadata: ImageMetadata
    private let blobs: [any BlobSource]
    private let stop: StopSign
    private let state = Monitor(State())
    private let threads = ThreadGroup()

    init(metadata: ImageMetadata, blobs: [any BlobSource], stop: StopSign) {
        self.metadata = metadata
        self.blobs = blobs
        self.stop = stop
    }

    /// Starts the threads, at least one.
    func start(threads count: Int) throws {
        do {
            for _ in 0..<max(count, 1) {
                let desk = try Desk()
                try threads.start(name: "unpack") { self.work(desk) }
            }
        } catch {
            try? finish()
            throw error
        }
    }

    /// What a thread works with; used by that thread only.
    private final class Desk: @unchecked Sendable {
        // @unchecked: made by the thread that starts it, then used by one other.
        var fetcher: ChunkFetcher
        /// What was fetched last.
        var last: (blob: UInt16, chunk: Chunk)?
        /// Who served it.
        var servers = BlobServers()

        init() throws {
            fetcher = try ChunkFetcher()
        }
    }

    /// Hands a part over; waits while too many do.
    ///
    /// - Returns: false if a thread has failed: nothing is written any more.
    func add(_ part: Part) -> Bool {
        state.wait { state -> Bool? in
            if state.failure != nil { return false }
            guard state.parts.count < Self.queueLimit else { return nil }
            state.parts.append(part)
            return true
        }
    }

    /// Waits until everything is written.
    ///
    /// - Throws: the first error of a thread.
    func finish() throws {
        state.update { $0.isClosed = true }
        threads.wait()
        if let failure = state.update({ $0.failure }) { throw failure }
    }

    private func work(_ desk: Desk) {
        while true {
            let order = state.wait { state -> Order? in
                if state.failure != nil { return .end }
                if !state.parts.isEmpty { return .write(state.parts.removeFirst()) }
                return state.isClosed ? .end : nil
            }
            guard case .write(let part) = order else { return }
            do {
                try write(part, desk)
                try part.file.finishPart()
            } catch {
                return state.update { state in
                    state.failure = state.failure ?? error
                    state.parts.removeAll()
                }
            }
        }
    }

    private func write(_ part: Part, _ desk: Desk) throws {
        let file = part.file
        let chunkSize = UInt64(metadata.layout.chunkSize)
        for index in part.chunks {
            try stop.check()
            let address = file.node.chunks[index]
            var failure: SystemError?
            do throws(ContentError) {
                guard let chunk = try metadata.chunk(at: address) else {
                    throw .corrupt("the blob has no such chunk")
                }
                try withContent(of: chunk, address, desk) { bytes in
                    do throws(SystemError) {
                        let offset = UInt64(index) * chunkSize
                        try file.descriptor.write(bytes, at: offset, file.path)
                    } catch {
                        failure = error
                    }
                }
            } catch {
                let blob = metadata.layout.blobs[Int(address.blob)].id
                throw error.at("\(file.path): chunk \(address.index) of blob \(blob)")
            }
            if let failure { throw failure }
        }
    }

    /// Fetches a chunk and calls the body with its content; what one server sent wrong, the next is
    /// asked for.
    private func withContent(
        of chunk: Chunk,
        _ address: ChunkAddress,
        _ desk: Desk,
        _ body: (RawSpan) -> Void
    ) throws(ContentError) {
        let blob = Int(address.blob)
        while true {
            try fetch(chunk, address, desk)
            do throws(ContentError) {
                return try desk.fetcher.withContent(
                    of: chunk,
                    metadata.blobs[blob].coding,
                    metadata.blobs[blob],
                    inRangeFrom: chunk.compressedOffset.bytes,
                    body
                )
            } catch {
                guard blobs[blob].distrust(desk.servers, because: error) else { throw error }
                desk.last = nil
            }
        }
    }

    /// Fetches what a chunk is stored in, unless that was fetched last: members of a batch are.
    private func fetch(
        _ chunk: Chunk,
        _ address: ChunkAddress,
        _ desk: Desk
    ) throws(ContentError) {
        if let last = desk.last, last.blob == address.blob, last.chunk.sharesUnit(with: chunk) {
            return
        }
        desk.last = nil
        desk.servers = try desk.fetcher.fetch(
            chunk.compressedOffset.bytes,
            Int(chunk.compressedSize),
            from: blobs[Int(address.blob)]
        )
        desk.last = (address.blob, chunk)
    }
}
