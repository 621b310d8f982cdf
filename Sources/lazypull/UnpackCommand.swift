// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Distribution
// The signals' names.
internal import Glibc
internal import Layers
internal import Linux
internal import OCI
internal import RAFS
internal import Unpack

/// `lazypull unpack`: lays a converted image out as files.
enum UnpackCommand {
    static let applet = Applet(syntax: syntax, run: run)

    private static let syntax = Syntax(
        name: "unpack",
        summary: "Lay a converted image out as files, with all their attributes",
        options: [
            SharedOptions.platform, SharedOptions.layers, SharedOptions.indexDirectory,
        ] + LimitOptions.ofTrees + RegistryOptions.ofCommands + [
            SharedOptions.threads, SharedOptions.quiet, SharedOptions.output,
        ],
        operands: [
            Operand("IMAGE", SharedOptions.image, help: "The converted image."),
            Operand("DIR", .directory, help: "The target: empty, or not there yet."),
        ]
    )

    private static func run(_ arguments: ParsedArguments) throws -> ExitCode {
        let image = try Images(arguments).converted()
        let directory = arguments.operands[1]
        guard CurrentProcess.isRoot else {
            throw Failure(.denied, "unpacking needs root, for owners and devices; run it with sudo")
        }
        try? ResourceLimits.raiseOpenFiles()
        let limits = LimitOptions.limits(arguments)
        let unpack = try ImageUnpack(
            image,
            threads: SharedOptions.threadCount(arguments),
            limits: BootstrapLimits(names: UInt64(limits.entries), depth: limits.depth)
        )
        let stop = StopSign()
        try listen(stop)
        let target = try FileSystem.makeOrTakeEmptyDirectory(directory)
        let report: UnpackReport
        do {
            report = try unpack.run(into: target, stop: stop)
        } catch {
            let failure = Failure(error)
            throw Failure(failure.code, "\(failure.message); \(directory) is left incomplete")
        }
        try Report.print(
            arguments,
            text: "\(directory) is \(image.name): \(report.nameCount) names,"
                + " \(ByteCount.text(report.contentSize)) of content\n",
            json: .object([
                "image": .string(image.name),
                "directory": .string(directory),
                "names": .integer(Int64(report.nameCount)),
                "contentSize": .unsigned(report.contentSize),
            ])
        )
        return .done
    }

    /// Raises the sign at an interrupt; to be called while the process has one thread.
    private static func listen(_ stop: StopSign) throws {
        let listener = Listener(try SignalDescriptor([SIGINT, SIGTERM, SIGHUP]))
        try WorkerThread(name: "signals") { listener.wait(stop) }.detach()
    }

    /// Waits for signals in a thread of its own.
    private final class Listener: Sendable {
        private let signals: SignalDescriptor

        init(_ signals: consuming SignalDescriptor) {
            self.signals = signals
        }

        func wait(_ stop: StopSign) {
            guard (try? signals.next()) != nil else { return }
            stop.raise()
            // Who asks twice does not want to wait for the end of a chunk.
            guard (try? signals.next()) != nil else { return }
            CurrentProcess.exit(ExitCode.failed.rawValue)
        }
    }
}
