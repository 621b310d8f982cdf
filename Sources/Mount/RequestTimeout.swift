// SPDX-License-Identifier: Apache-2.0

import Linux

/// How long the kernel waits for the answer to a FUSE request before it ends the connection, and
/// with it the mount (fs.fuse.*_request_timeout, Linux 6.15 and later).
enum RequestTimeout {
    private static let settings = [
        "/proc/sys/fs/fuse/max_request_timeout", "/proc/sys/fs/fuse/default_request_timeout",
    ]

    /// A deadline for reads that comes long before the kernel's.
    ///
    /// - Parameters:
    ///   - deadline: what is wanted, in milliseconds; nil for none.
    ///   - settings: files with the kernel's limits, in seconds; 0 for none.
    /// - Returns: at most half of the kernel's limit, in milliseconds; nil where there is neither.
    static func clamped(_ deadline: UInt64?, settings: [String] = settings) -> UInt64? {
        let limits = settings.compactMap { path -> UInt64? in
            guard let text = try? FileSystem.contents(of: path) else { return nil }
            let digits = String(decoding: text.prefix { $0 != 0x0a }, as: UTF8.self)
            return UInt64(digits).flatMap { $0 == 0 ? nil : $0.multipliedClamped(by: 500) }
        }
        return ([deadline].compactMap { $0 } + limits).min()
    }
}

extension UInt64 {
    fileprivate func multipliedClamped(by other: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? .max : product
    }
}
