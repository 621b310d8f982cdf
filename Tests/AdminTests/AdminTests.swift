// SPDX-License-Identifier: Apache-2.0

import Admin
import Containerd
import Glibc
import HTTP
import Linux
import OCI
import TestSupport
import Testing

/// What a service would tell.
private final class Provider: AdminProvider {
    let isHealthy: Bool

    init(isHealthy: Bool = true) { self.isHealthy = isHealthy }

    func fault() -> String? { isHealthy ? nil : "the disk is gone" }
    func metrics() -> String { "lazypull_up 1\n" }
    func state() -> JSONValue { .object(["snapshots": .integer(3)]) }
}

@Suite("Admin socket")
struct AdminTests {
    private let client = HTTPClient(userAgent: "test")

    @Test func answersHealthMetricsAndState() throws {
        let directory = TemporaryDirectory()
        let address = "\(directory.path)/admin"
        let server = try AdminServer(Provider(), address: address)
        defer { server.stop() }
        var status = stat()
        #expect(unsafe lstat(address, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        let admin = AdminClient(client, address: address)
        #expect(try String(decoding: admin.text("/healthz"), as: UTF8.self) == "ok\n")
        #expect(try String(decoding: admin.text("/metrics"), as: UTF8.self) == "lazypull_up 1\n")
        #expect(try admin.state()["snapshots"] == .integer(3))
        #expect(throws: (any Error).self) { try admin.text("/nothing") }
    }

    @Test func saysThatItIsNotHealthy() throws {
        let directory = TemporaryDirectory()
        let address = "\(directory.path)/admin"
        let server = try AdminServer(Provider(isHealthy: false), address: address)
        defer { server.stop() }
        #expect(throws: (any Error).self) {
            try AdminClient(client, address: address).text("/healthz")
        }
    }

    @Test func findsNobodyWhereNobodyListens() throws {
        let directory = TemporaryDirectory()
        #expect(throws: HTTPError.self) {
            try AdminClient(client, address: "\(directory.path)/admin").text("/healthz")
        }
    }

    @Test func replacesADeadSocketAndNoLivingOne() throws {
        let directory = TemporaryDirectory()
        let address = "\(directory.path)/admin"
        let first = try AdminServer(Provider(), address: address)
        #expect(throws: SystemError.self) { try AdminServer(Provider(), address: address) }
        first.stop()
        #expect(unsafe access(address, F_OK) == -1)
        // What a killed service leaves: a socket that nobody listens on.
        let dead = try ServiceSocket(claiming: address)
        _ = try dead.listen()
        try dead.publish(mode: 0o600)
        let second = try AdminServer(Provider(), address: address)
        second.stop()
    }

    @Test func countsCallsByMethodAndStatus() {
        let counts = CallCounts()
        counts.callEnded("Prepare", .ok, nanoseconds: 400_000)
        counts.callEnded("Prepare", .ok, nanoseconds: 2_000_000)
        counts.callEnded("Prepare", .alreadyExists, nanoseconds: 20_000_000_000)
        counts.callEnded("", .unimplemented, nanoseconds: 1)
        let text = counts.metrics()
        for line in [
            #"lazypull_calls_total{method="Prepare",code="OK"} 2"#,
            #"lazypull_calls_total{method="Prepare",code="ALREADY_EXISTS"} 1"#,
            #"lazypull_calls_total{method="unknown",code="UNIMPLEMENTED"} 1"#,
            #"lazypull_call_seconds_bucket{method="Prepare",le="0.0005"} 1"#,
            #"lazypull_call_seconds_bucket{method="Prepare",le="10"} 2"#,
            #"lazypull_call_seconds_bucket{method="Prepare",le="+Inf"} 3"#,
            #"lazypull_call_seconds_count{method="Prepare"} 3"#,
        ] {
            #expect(text.contains("\(line)\n"), "\(line)")
        }
    }
}
