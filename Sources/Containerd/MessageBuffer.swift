// SPDX-License-Identifier: Apache-2.0

import CGRPC

/// Messages as gRPC has them.
enum MessageBuffer {
    /// A copy of bytes; the caller destroys it.
    static func make(_ bytes: [UInt8]) -> UnsafeMutablePointer<grpc_byte_buffer>? {
        unsafe bytes.withUnsafeBytes { bytes in
            var slice = unsafe grpc_slice_from_copied_buffer(
                bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
                bytes.count
            )
            defer { unsafe grpc_slice_unref(slice) }
            return unsafe grpc_raw_byte_buffer_create(&slice, 1)
        }
    }

    /// The bytes; nil if they cannot be read.
    static func bytes(of buffer: UnsafeMutablePointer<grpc_byte_buffer>) -> [UInt8]? {
        var reader = unsafe grpc_byte_buffer_reader()
        guard unsafe grpc_byte_buffer_reader_init(&reader, buffer) != 0 else { return nil }
        defer { unsafe grpc_byte_buffer_reader_destroy(&reader) }
        var bytes: [UInt8] = []
        unsafe bytes.reserveCapacity(grpc_byte_buffer_length(buffer))
        var slice: UnsafeMutablePointer<grpc_slice>? = nil
        while unsafe grpc_byte_buffer_reader_peek(&reader, &slice) != 0, let part = unsafe slice {
            unsafe bytes.append(
                contentsOf: UnsafeRawBufferPointer(
                    start: cgrpc_slice_bytes(part),
                    count: cgrpc_slice_size(part)
                )
            )
        }
        return bytes
    }
}
