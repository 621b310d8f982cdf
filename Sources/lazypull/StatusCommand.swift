// SPDX-License-Identifier: Apache-2.0

internal import Admin
internal import Arguments
internal import HTTP
internal import Linux
internal import OCI

/// `lazypull status`: what the service on this machine does.
enum StatusCommand {
    static let applet = Applet(
        syntax: Syntax(
            name: "status",
            summary: "Show what serve-snapshotter does",
            options: [ServeSnapshotterCommand.adminAddress, SharedOptions.output],
            operands: []
        ),
        run: run
    )

    private static func run(_ arguments: ParsedArguments) throws -> ExitCode {
        let address = arguments.text(ServeSnapshotterCommand.adminAddress) ?? ""
        let http = HTTPClient(userAgent: "\(Program.name)/\(Program.version)")
        let state = try AdminClient(http, address: address).state()
        if arguments.text(SharedOptions.output) == "json" {
            try StandardStream.output.write(
                String(decoding: state.serialized(), as: UTF8.self) + "\n"
            )
        } else {
            try StandardStream.output.write(text(of: state, at: address))
        }
        return .done
    }

    /// The state for a person.
    private static func text(of state: JSONValue, at address: String) -> String {
        var lines = [
            "service    \(address), version \(state["version"]?.text ?? "unknown")",
            "up         \(number(state["uptimeSeconds"])) s",
        ]
        if let fault = state["fault"]?.text { lines.append("fault      \(fault)") }
        if let counts = state["snapshots"] {
            let kinds = ["committed", "active", "view"].map { "\(number(counts[$0])) \($0)" }
            lines.append("snapshots  \(kinds.joined(separator: ", "))")
            let bytes = UInt64(clamping: number(state["committedBytes"]))
            lines.append("committed  \(ByteCount.text(bytes))")
        }
        for image in state["degraded"]?.items ?? [] {
            let (name, error) = (image["image"]?.text ?? "", image["error"]?.text ?? "")
            lines.append("degraded   \(name): \(error)")
        }
        for call in state["calls"]?.items ?? [] {
            let (method, code) = (call["method"]?.text ?? "", call["code"]?.text ?? "")
            lines.append("calls      \(number(call["count"])) \(method) \(code)")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func number(_ value: JSONValue?) -> Int64 {
        if case .integer(let number) = value { return number }
        return 0
    }
}
