// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import TestSupport
import Testing

@testable import Mount

@Suite("Request timeout")
struct RequestTimeoutTests {
    /// The kernel's limits in seconds, as text; the deadline wanted; what comes of it.
    @Test(
        arguments: [
            ([], 300_000, 300_000),
            (["0\n", "0\n"], 300_000, 300_000),
            (["60\n", "0\n"], 300_000, 30_000),
            (["0\n", "20\n"], 300_000, 10_000),
            (["600\n", "20\n"], 5_000, 5_000),
            (["60\n"], nil, 30_000),
            ([], nil, nil),
            (["no number\n"], 300_000, 300_000),
        ] as [([String], UInt64?, UInt64?)]
    )
    func aReadIsGivenUpLongBeforeTheKernelGivesUpTheMount(
        limits: [String],
        wanted: UInt64?,
        expected: UInt64?
    ) throws {
        let directory = TemporaryDirectory()
        var settings = [directory.path + "/absent"]
        for (number, limit) in limits.enumerated() {
            let path = "\(directory.path)/\(number)"
            try FileSystem.replace(path, with: Array(limit.utf8).rawSpan)
            settings.append(path)
        }
        #expect(RequestTimeout.clamped(wanted, settings: settings) == expected)
    }
}
