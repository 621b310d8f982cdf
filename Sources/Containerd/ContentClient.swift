// SPDX-License-Identifier: Apache-2.0

import CContainerdAPI
import CGRPC

/// A blob that containerd has.
package struct ContentInfo: Sendable, Equatable {
    /// Its digest.
    package var digest: String
    /// What containerd says of it.
    package var labels: [String: String]
}

/// A client of containerd's content store, in all its namespaces; used by one thread at a time.
@safe
package final class ContentClient {
    /// How long a call may take, in seconds.
    private static let seconds: Int64 = 10
    private static let content = "/containerd.services.content.v1.Content/"

    private let address: String
    private let channel: OpaquePointer
    private let queue: CompletionQueue

    /// A client; no call is made yet.
    ///
    /// - Parameter address: the absolute path of containerd's socket.
    package init(address: String) {
        grpc_init()
        self.address = address
        queue = CompletionQueue()
        unsafe channel = cgrpc_channel_create("unix:\(address)")
    }

    deinit {
        unsafe grpc_channel_destroy(channel)
        queue.shutDown()
        while queue.next() {}
    }

    /// The namespaces.
    ///
    /// - Throws: what containerd answers; `unavailable` if it does not.
    package func namespaces() throws(RPCStatus) -> [String] {
        var names: [String] = []
        let method = "/containerd.services.namespaces.v1.Namespaces/List"
        try call(method, [], namespace: nil) { bytes throws(RPCStatus) in
            let isRead = unsafe Self.collecting(into: &names) { visitor, context in
                unsafe ccontainerd_namespaces_visit(bytes, bytes.count, visitor, context)
            }
            guard isRead else { throw Self.malformed(method) }
        }
        return names
    }

    /// The blobs of a namespace.
    ///
    /// - Parameters:
    ///   - filter: which of them, in containerd's language.
    ///   - namespace: the namespace.
    /// - Returns: their digests and labels.
    /// - Throws: what containerd answers; `unavailable` if it does not.
    package func blobs(_ filter: String, in namespace: String) throws(RPCStatus) -> [ContentInfo] {
        var found: [ContentInfo] = []
        let request = unsafe Self.request(filter) { text, visitor, context in
            unsafe ccontainerd_content_list_request(text, visitor, context)
        }
        let method = Self.content + "List"
        try call(method, request, namespace: namespace) { bytes throws(RPCStatus) in
            let isRead = unsafe withUnsafeMutablePointer(to: &found) { found in
                unsafe ccontainerd_content_visit(
                    bytes,
                    bytes.count,
                    { context, digest in
                        let found = unsafe context?.assumingMemoryBound(to: [ContentInfo].self)
                        let info = unsafe ContentInfo(digest: String(digest), labels: [:])
                        unsafe found?.pointee.append(info)
                    },
                    { context, key, value in
                        let found = unsafe context?.assumingMemoryBound(to: [ContentInfo].self)
                        guard let found = unsafe found else { return }
                        let last = unsafe found.pointee.count - 1
                        unsafe found.pointee[last].labels[String(key)] = String(value)
                    },
                    found
                )
            }
            guard isRead != 0 else { throw Self.malformed(method) }
        }
        return found
    }

    /// A blob, as it is there: nothing is verified.
    ///
    /// - Parameters:
    ///   - digest: which.
    ///   - namespace: the namespace.
    ///   - limit: the size that it may have at most.
    /// - Returns: its bytes.
    /// - Throws: what containerd answers; `resourceExhausted` if it is larger.
    package func blob(
        _ digest: String,
        in namespace: String,
        limit: Int
    ) throws(RPCStatus) -> [UInt8] {
        var data: [UInt8] = []
        let request = unsafe Self.request(digest) { text, visitor, context in
            unsafe ccontainerd_content_read_request(text, visitor, context)
        }
        let method = Self.content + "Read"
        try call(method, request, namespace: namespace) { bytes throws(RPCStatus) in
            let isRead = unsafe Self.appending(to: &data) { visitor, context in
                unsafe ccontainerd_content_visit_data(bytes, bytes.count, visitor, context)
            }
            guard isRead else { throw Self.malformed(method) }
            guard data.count <= limit else {
                throw RPCStatus(.resourceExhausted, "\(digest): larger than \(limit) bytes")
            }
        }
        return data
    }

    private func call(
        _ method: String,
        _ request: [UInt8],
        namespace: String?,
        _ received: ([UInt8]) throws(RPCStatus) -> Void
    ) throws(RPCStatus) {
        guard
            let call = unsafe ClientCall(method, channel, queue, seconds: Self.seconds)
        else { throw RPCStatus(.unavailable, "containerd at \(address): no call can be made") }
        let headers = namespace.map { [("containerd-namespace", $0)] } ?? []
        do {
            try call.run(request, headers: headers, received)
        } catch {
            throw RPCStatus(error.code, "containerd at \(address): \(method): \(error.message)")
        }
    }

    private static func malformed(_ method: String) -> RPCStatus {
        RPCStatus(.dataLoss, "the response is no message of \(method)")
    }
}

extension ContentClient {
    private typealias Visitor = ccontainerd_text_visitor

    /// A request that a text makes.
    private static func request(
        _ text: String,
        _ write: (ccontainerd_text, Visitor, UnsafeMutableRawPointer) -> Int32
    ) -> [UInt8] {
        var (text, message) = (text, [UInt8]())
        text.withUTF8 { bytes in
            unsafe bytes.withMemoryRebound(to: CChar.self) { bytes in
                let text = unsafe ccontainerd_text(bytes: bytes.baseAddress, size: bytes.count)
                _ = unsafe appending(to: &message) { unsafe write(text, $0, $1) }
            }
        }
        return message
    }

    private static func appending(
        to data: inout [UInt8],
        _ visit: (Visitor, UnsafeMutableRawPointer) -> Int32
    ) -> Bool {
        unsafe withUnsafeMutablePointer(to: &data) { data in
            let visitor: Visitor = { context, bytes in
                let data = unsafe context?.assumingMemoryBound(to: [UInt8].self)
                unsafe data?.pointee.append(
                    contentsOf: UnsafeRawBufferPointer(start: bytes.bytes, count: bytes.size)
                )
            }
            return unsafe visit(visitor, data) != 0
        }
    }

    private static func collecting(
        into texts: inout [String],
        _ visit: (Visitor, UnsafeMutableRawPointer) -> Int32
    ) -> Bool {
        unsafe withUnsafeMutablePointer(to: &texts) { texts in
            let visitor: Visitor = { context, text in
                let texts = unsafe context?.assumingMemoryBound(to: [String].self)
                unsafe texts?.pointee.append(String(text))
            }
            return unsafe visit(visitor, texts) != 0
        }
    }
}

extension String {
    /// A copy of a text of a message's.
    fileprivate init(_ text: ccontainerd_text) {
        let bytes = unsafe UnsafeRawBufferPointer(start: text.bytes, count: text.size)
        self = unsafe String(decoding: bytes, as: UTF8.self)
    }
}
