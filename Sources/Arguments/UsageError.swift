// SPDX-License-Identifier: Apache-2.0

/// A command line that cannot be obeyed; exit code `ExitCode.usage`.
package struct UsageError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong and, where it is known, what to write instead: one line.
    package var message: String

    /// An error with the message.
    package init(_ message: String) {
        self.message = message
    }

    package var description: String { message }
}
