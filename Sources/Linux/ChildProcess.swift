// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// A program that is run for its effect.
package enum ChildProcess {
    /// Runs a program to its end; its output goes where ours goes.
    ///
    /// - Parameters:
    ///   - words: the program, looked for in PATH, and its arguments.
    ///   - executable: the program's path, if its first word is not its name.
    ///   - variable: one more variable of its environment, `NAME=value`; nil for none.
    ///   - descriptor: what it finds as descriptor 3; nil for nothing.
    /// - Returns: its exit status; 255 if a signal ended it.
    /// - Throws: `SystemError` if it could not be started: ENOENT if there is no such program.
    package static func run(
        _ words: [String],
        executable: String? = nil,
        variable: String? = nil,
        descriptor: Int32? = nil
    ) throws(SystemError) -> Int32 {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        if let descriptor {
            unsafe posix_spawn_file_actions_adddup2(&actions, descriptor, 3)
        }
        var arguments = unsafe Self.strings(words)
        var environment = unsafe Self.strings(Self.environment() + (variable.map { [$0] } ?? []))
        defer {
            for index in unsafe arguments.indices { unsafe free(arguments[index]) }
            for index in unsafe environment.indices { unsafe free(environment[index]) }
        }
        var process = pid_t()
        let code = unsafe posix_spawnp(
            &process,
            executable ?? words[0],
            &actions,
            nil,
            &arguments,
            &environment
        )
        guard code == 0 else { throw SystemError("posix_spawn", words[0], code: code) }
        var status: Int32 = 0
        try retryingOnInterrupt("waitpid", words[0]) { unsafe waitpid(process, &status, 0) }
        return clinux_exited(status) != 0 ? clinux_exit_status(status) : 255
    }

    private static func environment() -> [String] {
        var result: [String] = []
        guard var next = unsafe clinux_environment() else { return [] }
        while let entry = unsafe next.pointee {
            unsafe result.append(String(cString: entry))
            unsafe next += 1
        }
        return result
    }

    /// A list as C takes it: each text to be freed, and a null pointer at the end.
    private static func strings(_ texts: [String]) -> [UnsafeMutablePointer<CChar>?] {
        unsafe texts.map { unsafe strdup($0) } + [nil]
    }
}

/// Two sockets that are connected with each other (socketpair(2)), to pass a descriptor through.
package struct DescriptorPassage: ~Copyable {
    private let ours: OwnedDescriptor
    private let theirs: OwnedDescriptor

    /// - Throws: `SystemError` if the process has no descriptor left.
    package init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        try retryingOnInterrupt("socketpair", "") {
            unsafe socketpair(
                AF_UNIX,
                Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue),
                0,
                &ends
            )
        }
        ours = OwnedDescriptor(owning: ends[0])
        theirs = OwnedDescriptor(owning: ends[1])
    }

    /// The end for the program that sends.
    package var sender: Int32 { theirs.number }

    /// Takes the descriptor that was sent.
    ///
    /// - Returns: the descriptor; it does not block, and other programs do not inherit it.
    /// - Throws: `SystemError` if none was sent.
    package func receive() throws(SystemError) -> OwnedDescriptor {
        OwnedDescriptor(
            owning: try retryingOnInterrupt("recvmsg", "descriptor") {
                clinux_receive_descriptor(ours.number)
            }
        )
    }
}
