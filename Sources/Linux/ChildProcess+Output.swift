// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

extension ChildProcess {
    /// What a program left behind.
    package struct Outcome: Sendable {
        /// What it exited with; 255 if a signal ended it.
        package var status: Int32
        /// What it wrote to standard output.
        package var output: [UInt8]
    }

    /// Runs a program to its end, without a shell, and takes what it writes.
    ///
    /// Its standard error is ours.
    ///
    /// - Parameters:
    ///   - program: a path, or a name that is looked for in PATH.
    ///   - arguments: its arguments, without its own name.
    ///   - environment: variables it gets beside ours, which they replace.
    ///   - input: what it finds on standard input; at most 64 KiB, which a pipe holds.
    ///   - outputLimit: the most bytes it may write.
    ///   - milliseconds: how long it may take; then it is killed.
    /// - Returns: what it left.
    /// - Throws: `SystemError`: it cannot be started, writes too much (EFBIG), takes too long
    ///   (ETIMEDOUT).
    package static func capture(
        _ program: String,
        _ arguments: [String],
        environment: [(name: String, value: String)] = [],
        input: [UInt8] = [],
        outputLimit: Int = 1 << 20,
        milliseconds: Int = 30_000
    ) throws(SystemError) -> Outcome {
        guard input.count <= 64 << 10 else { throw SystemError("write", program, code: EFBIG) }
        let output = try pipe()
        let process = try start(program, arguments, environment, input, output: output.writer)
        let reader = output.closingWriter()
        do throws(SystemError) {
            let output = try readAll(reader, program, outputLimit, milliseconds)
            return Outcome(status: try status(of: process, program), output: output)
        } catch {
            _ = kill(process, SIGKILL)
            _ = try? status(of: process, program)
            throw error
        }
    }

    private static func pipe() throws(SystemError) -> Pipe {
        var ends: [Int32] = [-1, -1]
        try retryingOnInterrupt("pipe2", "") { unsafe clinux_pipe(&ends) }
        return Pipe(
            reader: OwnedDescriptor(owning: ends[0]),
            writer: OwnedDescriptor(owning: ends[1])
        )
    }

    /// Starts the program; its end of the input is closed here, so that it sees the end of it.
    private static func start(
        _ program: String,
        _ arguments: [String],
        _ environment: [(name: String, value: String)],
        _ input: [UInt8],
        output: borrowing OwnedDescriptor
    ) throws(SystemError) -> pid_t {
        let pipe = try pipe()
        try pipe.writer.write(unsafe input.span.bytes, program)
        return try spawn(
            program,
            arguments,
            environment,
            input: pipe.reader.number,
            output: output.number
        )
    }

    private static func spawn(
        _ program: String,
        _ arguments: [String],
        _ environment: [(name: String, value: String)],
        input: Int32,
        output: Int32
    ) throws(SystemError) -> pid_t {
        var actions = unsafe posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawnattr_init(&attributes)
        defer {
            unsafe posix_spawn_file_actions_destroy(&actions)
            unsafe posix_spawnattr_destroy(&attributes)
        }
        unsafe posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)
        unsafe posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        // We ignore SIGPIPE and may block others; a program expects neither.
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        unsafe sigaddset(&signals, SIGPIPE)
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        unsafe posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)
        )
        let words = StringVector([program] + arguments)
        let variables = StringVector(
            environment.map { "\($0.name)=\($0.value)" }
                + inherited(without: environment.map(\.name))
        )
        var process: pid_t = 0
        let code = unsafe posix_spawnp(
            &process,
            program,
            &actions,
            &attributes,
            words.pointers,
            variables.pointers
        )
        guard code == 0 else { throw SystemError("posix_spawn", program, code: code) }
        return process
    }

    /// Our own environment.
    private static func inherited(without names: [String]) -> [String] {
        let text = (try? FileSystem.contents(of: "/proc/self/environ", limit: 4 << 20)) ?? []
        return text.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }.filter { line in
            !names.contains { line.hasPrefix("\($0)=") }
        }
    }

    private static func readAll(
        _ pipe: borrowing OwnedDescriptor,
        _ program: String,
        _ limit: Int,
        _ milliseconds: Int
    ) throws(SystemError) -> [UInt8] {
        let end = CurrentProcess.monotonicNanoseconds &+ UInt64(max(0, milliseconds)) &* 1_000_000
        var output: [UInt8] = []
        let buffer = try AnonymousMemory(byteCount: 1 << 16)
        while true {
            let now = CurrentProcess.monotonicNanoseconds
            let rest = now < end ? (end - now) / 1_000_000 : 0
            let ready = try waitForInput(on: [pipe.number], milliseconds: Int32(clamping: rest))
            guard ready != nil else { throw SystemError("run", program, code: ETIMEDOUT) }
            let count = try unsafe pipe.read(into: buffer.bytes, program)
            guard count > 0 else { return output }
            guard count <= limit - output.count else {
                throw SystemError("read from", program, code: EFBIG)
            }
            unsafe output.append(contentsOf: buffer.bytes[..<count])
        }
    }

    private static func status(of process: pid_t, _ program: String) throws(SystemError) -> Int32 {
        var status: Int32 = 0
        try retryingOnInterrupt("waitpid", program) { unsafe waitpid(process, &status, 0) }
        return clinux_exited(status) != 0 ? clinux_exit_status(status) : 255
    }
}

/// The two ends of a pipe.
private struct Pipe: ~Copyable {
    let reader: OwnedDescriptor
    let writer: OwnedDescriptor

    /// Closes our end of what another process writes to.
    consuming func closingWriter() -> OwnedDescriptor { reader }
}

/// Strings as C wants them: an array of pointers that ends with none.
@safe
private final class StringVector {
    let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    private let count: Int

    init(_ strings: [String]) {
        count = strings.count
        unsafe pointers = .allocate(capacity: count + 1)
        for (index, string) in strings.enumerated() {
            unsafe (pointers + index).initialize(to: strdup(string))
        }
        unsafe (pointers + count).initialize(to: nil)
    }

    deinit {
        for index in 0..<count { unsafe free(pointers[index]) }
        unsafe pointers.deallocate()
    }
}
