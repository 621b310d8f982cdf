// SPDX-License-Identifier: Apache-2.0
//
// Admin: the service's admin socket, both ends: health, metrics and state.

package import Containerd
package import OCI
import Synchronization

/// Counts calls by method and status, and how long they took.
package final class CallCounts: CallObserver {
    /// A method's calls that ended in one way.
    private struct Key: Hashable {
        var method: String
        var code: String
    }

    /// How long a method's calls took.
    private struct Times {
        /// Calls no longer than each bound, and longer than the one before; the last for the rest.
        var counts = [UInt64](repeating: 0, count: CallCounts.bounds.count + 1)
        var nanoseconds: UInt64 = 0
    }

    private struct State {
        var counts: [Key: UInt64] = [:]
        var times: [String: Times] = [:]
    }

    /// The histogram's bounds: nanoseconds, and as Prometheus writes them, in seconds.
    private static let bounds: [(nanoseconds: UInt64, text: String)] = [
        (500_000, "0.0005"), (1_000_000, "0.001"), (2_500_000, "0.0025"), (5_000_000, "0.005"),
        (10_000_000, "0.01"), (25_000_000, "0.025"), (100_000_000, "0.1"),
        (1_000_000_000, "1"), (10_000_000_000, "10"),
    ]

    private let state = Mutex(State())

    /// No call yet.
    package init() {}

    package func callEnded(_ method: String, _ code: RPCStatus.Code, nanoseconds: UInt64) {
        // One word for all methods that do not exist: their names are anybody's.
        let name = method.isEmpty ? "unknown" : method
        let place = Self.bounds.firstIndex { nanoseconds <= $0.nanoseconds } ?? Self.bounds.count
        state.withLock { state in
            state.counts[Key(method: name, code: code.name), default: 0] += 1
            state.times[name, default: Times()].counts[place] += 1
            state.times[name, default: Times()].nanoseconds &+= nanoseconds
        }
    }

    /// The counts in Prometheus' text format.
    package func metrics() -> String {
        let state = state.withLock { $0 }
        var lines = [
            "# HELP lazypull_calls_total Calls of containerd that have ended.",
            "# TYPE lazypull_calls_total counter",
        ]
        lines += state.counts.map { key, count in
            "lazypull_calls_total{method=\"\(key.method)\",code=\"\(key.code)\"} \(count)"
        }.sorted()
        lines += [
            "# HELP lazypull_call_seconds How long calls took.",
            "# TYPE lazypull_call_seconds histogram",
        ]
        for (method, times) in state.times.sorted(by: { $0.key < $1.key }) {
            let label = "method=\"\(method)\""
            var sum: UInt64 = 0
            for (count, bound) in zip(times.counts, Self.bounds.map(\.text) + ["+Inf"]) {
                sum += count
                lines.append("lazypull_call_seconds_bucket{\(label),le=\"\(bound)\"} \(sum)")
            }
            let seconds = Double(times.nanoseconds) / 1e9
            lines.append("lazypull_call_seconds_sum{\(label)} \(seconds)")
            lines.append("lazypull_call_seconds_count{\(label)} \(sum)")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The counts as a value: a list of method, status and number.
    package func document() -> JSONValue {
        let counts = state.withLock { $0.counts }
        let sorted = counts.sorted { ($0.key.method, $0.key.code) < ($1.key.method, $1.key.code) }
        return .array(
            sorted.map { key, count in
                .object([
                    "method": .string(key.method), "code": .string(key.code),
                    "count": .unsigned(count),
                ])
            }
        )
    }
}
