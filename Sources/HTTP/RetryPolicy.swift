// SPDX-License-Identifier: Apache-2.0

import Linux

/// How often, how long and how patiently a request is tried again.
package struct RetryPolicy: Sendable {
    /// How many times a request is sent at most.
    package var attempts: Int
    /// How long all of them may take, in nanoseconds; one that runs then is cut off.
    package var duration: UInt64
    /// The longest wait after the first failure, in nanoseconds; it doubles with each.
    package var firstWait: UInt64 = 100_000_000
    /// The longest wait of all, in nanoseconds.
    package var longestWait: UInt64 = 5_000_000_000

    /// A policy with the usual waits.
    ///
    /// - Parameters:
    ///   - attempts: how many times a request is sent at most.
    ///   - duration: how long all of them may take, in nanoseconds.
    package init(attempts: Int, duration: UInt64) {
        self.attempts = attempts
        self.duration = duration
    }

    /// For who waits at a terminal: a host that is not there is reported soon.
    package static let command = RetryPolicy(attempts: 5, duration: 120_000_000_000)

    /// For programs that read from a mount: as long as the deadline lasts.
    ///
    /// - Parameter seconds: how long a read may take.
    /// - Returns: the policy.
    package static func deadline(seconds: Int) -> RetryPolicy {
        RetryPolicy(attempts: .max, duration: UInt64(clamping: seconds) &* 1_000_000_000)
    }

    /// The policy, less patient where it would take longer.
    ///
    /// - Parameter seconds: how long all attempts may take at most.
    /// - Returns: the policy.
    package func within(seconds: Int) -> RetryPolicy {
        var policy = self
        policy.duration = min(duration, UInt64(clamping: seconds) &* 1_000_000_000)
        return policy
    }

    /// The policy with another duration.
    ///
    /// - Parameter seconds: how long all attempts may take.
    /// - Returns: the policy.
    package func lasting(seconds: Int) -> RetryPolicy {
        var policy = self
        policy.duration = UInt64(clamping: seconds) &* 1_000_000_000
        return policy
    }

    /// How long the other side of a stream may be silent, in seconds: a stream itself may take as
    /// long as it likes.
    package var stallSeconds: Int { Int(clamping: min(30, max(1, duration / 1_000_000_000))) }

    /// How long the other side may be silent about what it is to keep, in seconds.
    package var silenceSeconds: Int { Int(clamping: max(1, duration / 1_000_000_000)) }

    /// How long to wait before the next attempt.
    ///
    /// Waits are random, so that a thousand nodes that lost a registry together do not come back
    /// together.
    ///
    /// - Parameters:
    ///   - failures: how many attempts have failed, at least 1.
    ///   - retryAfter: what the other side asked for, in nanoseconds.
    ///   - fraction: the random number, 0..<1.
    /// - Returns: nanoseconds; nil if there is to be no further attempt.
    package func wait(
        afterFailures failures: Int,
        retryAfter: UInt64?,
        fraction: Double
    ) -> UInt64? {
        guard failures < attempts else { return nil }
        let ceiling = min(longestWait, firstWait << UInt64(min(max(failures - 1, 0), 16)))
        // At least a quarter: no wait at all would be no wait.
        let wait = UInt64(Double(ceiling) * (0.25 + 0.75 * fraction))
        return max(wait, retryAfter ?? 0)
    }

    /// Does something until it succeeds, or fails for good.
    ///
    /// - Parameters:
    ///   - note: told of every failure after which it is tried again.
    ///   - body: does it; gets the moment on the monotonic clock when it is too late.
    /// - Returns: what the body returns.
    /// - Throws: what the body threw last.
    package func run<T>(
        note: (HTTPError) -> Void = { _ in },
        _ body: (_ deadline: UInt64) throws(HTTPError) -> T
    ) throws(HTTPError) -> T {
        let start = CurrentProcess.monotonicNanoseconds
        let deadline = start.addingReportingOverflow(duration).partialValue
        var failures = 0
        while true {
            do throws(HTTPError) {
                return try body(deadline)
            } catch {
                failures += 1
                guard error.isRetryable,
                    let wait = wait(
                        afterFailures: failures,
                        retryAfter: error.retryAfter,
                        fraction: Double.random(in: 0..<1)
                    )
                else { throw error }
                let now = CurrentProcess.monotonicNanoseconds
                guard now < deadline, wait < deadline - now else { throw error }
                note(error)
                CurrentProcess.sleep(nanoseconds: wait)
            }
        }
    }
}
