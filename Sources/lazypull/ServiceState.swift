// SPDX-License-Identifier: Apache-2.0

internal import Admin
internal import Containerd
internal import Linux
internal import OCI
internal import Snapshotter

/// What a serving snapshotter tells on its admin socket.
final class ServiceState: AdminProvider {
    private let snapshotter: Snapshotter
    private let calls: CallCounts
    private let start = CurrentProcess.monotonicNanoseconds

    init(_ snapshotter: Snapshotter, _ calls: CallCounts) {
        self.snapshotter = snapshotter
        self.calls = calls
    }

    func fault() -> String? {
        do throws(RPCStatus) {
            _ = try snapshotter.summary()
            return nil
        } catch {
            return error.description
        }
    }

    func metrics() -> String {
        var text = calls.metrics()
        guard let summary = try? snapshotter.summary() else { return text }
        text += "# HELP lazypull_snapshots Snapshots.\n# TYPE lazypull_snapshots gauge\n"
        for kind in SnapshotInfo.Kind.allCases {
            text += "lazypull_snapshots{kind=\"\(kind.name)\"} \(summary.counts[kind] ?? 0)\n"
        }
        text += """
            # HELP lazypull_committed_bytes What committed snapshots take, as far as measured.
            # TYPE lazypull_committed_bytes gauge
            lazypull_committed_bytes \(summary.committedBytes)
            # HELP lazypull_degraded_images Images in use that cannot be mounted at the moment.
            # TYPE lazypull_degraded_images gauge
            lazypull_degraded_images \(snapshotter.degradedImages.count)

            """
        return text
    }

    func state() -> JSONValue {
        var fields: [String: JSONValue] = [
            "version": .string(Program.version),
            "uptimeSeconds": .unsigned(
                (CurrentProcess.monotonicNanoseconds &- start) / 1_000_000_000
            ),
            "calls": calls.document(),
            "degraded": .array(
                snapshotter.degradedImages.map {
                    .object(["image": .string($0.reference), "error": .string($0.error)])
                }
            ),
        ]
        do throws(RPCStatus) {
            let summary = try snapshotter.summary()
            var counts: [String: JSONValue] = [:]
            for kind in SnapshotInfo.Kind.allCases {
                counts[kind.name] = .integer(Int64(summary.counts[kind] ?? 0))
            }
            fields["snapshots"] = .object(counts)
            fields["committedBytes"] = .integer(summary.committedBytes)
        } catch {
            fields["fault"] = .string(error.description)
        }
        return .object(fields)
    }
}
