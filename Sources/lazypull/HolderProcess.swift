// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Linux

/// The program as a service starts it to keep its mounts' descriptors.
///
/// Its command line is `--hold-descriptors SOCKET`, with the listening socket as descriptor 3: nobody
/// types that.
enum HolderProcess {
    static let option = "--hold-descriptors"

    /// Starts it.
    ///
    /// - Parameters:
    ///   - path: where it listens: tells it from other services' holders in a list of processes.
    ///   - listener: the listening socket.
    /// - Throws: `SystemError` if it could not be started.
    static func start(_ path: String, _ listener: Int32) throws(SystemError) {
        let status = try ChildProcess.run(
            [Program.name, option, path],
            // Also where an upgrade has replaced the file.
            executable: "/proc/self/exe",
            descriptor: listener
        )
        guard status == 0 else {
            throw .failedStart("\(Program.name) \(option)", status: status)
        }
    }

    /// Is it; returns in the process that was started, and again when the holder ends.
    static func run() throws -> ExitCode {
        guard DescriptorHolder.hasListener else {
            throw UsageError("\(option) is what serve-snapshotter starts by itself")
        }
        DescriptorHolder.separate()
        switch try Daemon.fork() {
        case .starter(let reader):
            return try reader.exitStatus() == 0 ? .done : .failed
        case .background(let pipe):
            let holder = DescriptorHolder()
            try pipe.ready(keepingError: false)
            try holder.run()
            return .done
        }
    }
}
