// SPDX-License-Identifier: Apache-2.0

import HTTP
import Linux
import Testing

@Suite("Retries")
struct RetryPolicyTests {
    @Test func waitsLongerEachTimeUpToALimit() {
        let policy = RetryPolicy(attempts: .max, duration: 1)
        let waits = (1...100).compactMap {
            policy.wait(afterFailures: $0, retryAfter: nil, fraction: 1)
        }
        #expect(waits.count == 100)
        #expect(waits.first == 100_000_000)
        #expect(waits[1] == 200_000_000)
        #expect(waits.allSatisfy { $0 <= 5_000_000_000 })
        #expect(policy.wait(afterFailures: 1, retryAfter: nil, fraction: 0) == 25_000_000)
        #expect(policy.wait(afterFailures: 1, retryAfter: 9, fraction: 0) == 25_000_000)
        #expect(policy.wait(afterFailures: 1, retryAfter: 1 << 40, fraction: 0) == 1 << 40)
    }

    @Test func endsWithTheAttempts() throws {
        var policy = RetryPolicy(attempts: 3, duration: 10_000_000_000)
        policy.firstWait = 1_000_000
        var count = 0
        let error = #expect(throws: HTTPError.self) {
            try policy.run { _ throws(HTTPError) in
                count += 1
                throw HTTPError(.interrupted, "failure \(count)")
            }
        }
        #expect(count == 3)
        #expect(error?.cause == "failure 3")
    }

    @Test func doesNotRepeatWhatCannotSucceed() throws {
        var count = 0
        #expect(throws: HTTPError.self) {
            try RetryPolicy.command.run { _ throws(HTTPError) in
                count += 1
                throw HTTPError(.status(404), "404")
            }
        }
        #expect(count == 1)
    }

    @Test func endsAtTheDeadline() throws {
        var policy = RetryPolicy(attempts: .max, duration: 100_000_000)
        policy.firstWait = 10_000_000
        let start = CurrentProcess.monotonicNanoseconds
        #expect(throws: HTTPError.self) {
            try policy.run { _ throws(HTTPError) in throw HTTPError(.status(503), "503") }
        }
        #expect(CurrentProcess.monotonicNanoseconds - start < 2_000_000_000)
        // An hour's wait is not waited for if the deadline comes first.
        #expect(throws: HTTPError.self) {
            try policy.run { _ throws(HTTPError) in
                throw HTTPError(.status(429), "429", retryAfter: 3_600_000_000_000)
            }
        }
        #expect(CurrentProcess.monotonicNanoseconds - start < 2_000_000_000)
    }
}
