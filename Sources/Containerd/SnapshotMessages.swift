// SPDX-License-Identifier: Apache-2.0

import CContainerdAPI

/// A request, whatever its method: what a method's message has no field for is empty.
struct SnapshotRequest: Equatable {
    /// The key of a snapshot.
    private(set) var key = ""
    /// The name of a committed snapshot to be, or of the one to update.
    private(set) var name = ""
    /// The snapshot below.
    private(set) var parent = ""
    /// The labels sent.
    private(set) var labels: [String: String] = [:]
    /// The filters, or the paths of the field mask.
    private(set) var texts: [String] = []

    /// Reads a message.
    ///
    /// - Throws: `invalidArgument` for bytes that are none.
    init(_ shape: ccontainerd_shape, _ bytes: [UInt8]) throws(RPCStatus) {
        let request = unsafe bytes.withUnsafeBytes { bytes in
            unsafe ccontainerd_request_parse(shape, bytes.baseAddress, bytes.count)
        }
        guard let request = unsafe request else {
            throw RPCStatus(.invalidArgument, "the request is no message of this method")
        }
        defer { unsafe ccontainerd_request_free(request) }
        key = unsafe Self.string(ccontainerd_request_key(request))
        name = unsafe Self.string(ccontainerd_request_name(request))
        parent = unsafe Self.string(ccontainerd_request_parent(request))
        unsafe withUnsafeMutablePointer(to: &labels) { labels in
            unsafe ccontainerd_request_visit_labels(
                request,
                { context, key, value in
                    let labels = unsafe context?.assumingMemoryBound(to: [String: String].self)
                    unsafe labels?.pointee[SnapshotRequest.string(key)] =
                        SnapshotRequest.string(value)
                },
                labels
            )
        }
        unsafe withUnsafeMutablePointer(to: &texts) { texts in
            unsafe ccontainerd_request_visit_texts(
                request,
                { context, text in
                    let texts = unsafe context?.assumingMemoryBound(to: [String].self)
                    unsafe texts?.pointee.append(SnapshotRequest.string(text))
                },
                texts
            )
        }
    }

    private static func string(_ text: ccontainerd_text) -> String {
        let bytes = unsafe UnsafeRawBufferPointer(start: text.bytes, count: text.size)
        return unsafe String(decoding: bytes, as: UTF8.self)
    }
}

/// The bytes of responses.
enum SnapshotResponse {
    /// What Prepare, View and Mounts answer.
    static func mounts(_ mounts: [MountSpec]) -> [UInt8] {
        unsafe bytes(CCONTAINERD_MOUNTS) { response in
            for mount in mounts {
                unsafe with(mount.type) { type in
                    unsafe with(mount.source) { source in
                        unsafe with(mount.target) { target in
                            unsafe ccontainerd_response_add_mount(response, type, source, target)
                        }
                    }
                }
                for option in mount.options {
                    unsafe with(option) { unsafe ccontainerd_response_add_option(response, $0) }
                }
            }
        }
    }

    /// What Stat and Update answer.
    static func info(_ info: SnapshotInfo) -> [UInt8] {
        unsafe bytes(CCONTAINERD_INFO) { unsafe add(info, to: $0) }
    }

    /// One message of List.
    static func infos(_ infos: [SnapshotInfo]) -> [UInt8] {
        unsafe bytes(CCONTAINERD_INFOS) { response in
            for info in infos { unsafe add(info, to: response) }
        }
    }

    /// What Usage answers.
    static func usage(_ usage: SnapshotUsage) -> [UInt8] {
        unsafe bytes(CCONTAINERD_USAGE) { response in
            unsafe ccontainerd_response_set_usage(response, usage.size, usage.inodes)
        }
    }

    /// About how many bytes a snapshot takes in a message.
    static func weight(of info: SnapshotInfo) -> Int {
        info.labels.reduce(64 + info.name.utf8.count + info.parent.utf8.count) {
            $0 + $1.key.utf8.count + $1.value.utf8.count + 8
        }
    }

    private static func add(_ info: SnapshotInfo, to response: OpaquePointer) {
        unsafe with(info.name) { name in
            unsafe with(info.parent) { parent in
                var snapshot = unsafe ccontainerd_snapshot(
                    name: name,
                    parent: parent,
                    kind: info.kind.rawValue,
                    created_seconds: info.createdAt.seconds,
                    updated_seconds: info.updatedAt.seconds,
                    created_nanoseconds: info.createdAt.nanoseconds,
                    updated_nanoseconds: info.updatedAt.nanoseconds
                )
                unsafe ccontainerd_response_add_snapshot(response, &snapshot)
            }
        }
        for (key, value) in info.labels {
            unsafe with(key) { key in
                unsafe with(value) { unsafe ccontainerd_response_add_label(response, key, $0) }
            }
        }
    }

    private static func with(_ text: String, _ body: (ccontainerd_text) -> Void) {
        var text = text
        text.withUTF8 { bytes in
            unsafe bytes.withMemoryRebound(to: CChar.self) { bytes in
                unsafe body(ccontainerd_text(bytes: bytes.baseAddress, size: bytes.count))
            }
        }
    }

    private static func bytes(
        _ shape: ccontainerd_response_shape,
        _ fill: (OpaquePointer) -> Void
    ) -> [UInt8] {
        guard let response = unsafe ccontainerd_response_make(shape) else { return [] }
        defer { unsafe ccontainerd_response_free(response) }
        unsafe fill(response)
        var bytes = [UInt8](repeating: 0, count: unsafe ccontainerd_response_size(response))
        let count = bytes.count
        _ = unsafe ccontainerd_response_write(response, &bytes, count)
        return bytes
    }
}
