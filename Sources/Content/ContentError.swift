// SPDX-License-Identifier: Apache-2.0
//
// Content: the words of the trade as pure values - digests, offsets, chunks, file trees, byte
// streams. Nothing in this module opens a file, reads a clock or knows a format.

/// What is wrong with bytes that came from outside: an image, a layer, a registry, a cache.
///
/// Every module that reads data throws this one type, so that a cause keeps its kind on the way
/// up to the exit code. The message says what failed, where, what was expected and what was found.
@usableFromInline
package struct ContentError: Error, Sendable, CustomStringConvertible {
    /// The kinds of fault that a caller may treat differently.
    package enum Kind: Sendable, Equatable {
        /// The bytes contradict their format or their digest.
        case corrupt
        /// The data ends before its format says so.
        case truncated
        /// Well formed, but something this version does not read or write.
        case unsupported
        /// A stated limit on entries, chunks, sizes or depth is exceeded.
        case limitExceeded
        /// The bytes named do not exist.
        case notFound
        /// Whoever has the bytes does not give or take them: a wrong password, no right to.
        case denied
        /// The storage has no room for the bytes.
        case noSpace
        /// The storage or the network did not give or take the bytes.
        case inputOutput
    }

    /// The kind, for programs.
    package var kind: Kind
    /// The message, for people: one line, at most 4096 bytes, no trailing stop.
    package var message: String { didSet { message = messageText(message) } }

    /// Whether what failed was tried as often and as long as it may be: once more is no help.
    package var wasRetried = false

    /// Whether something ran out that others may give back, as descriptors or memory: nothing is
    /// wrong with the bytes.
    package var isShortage = false

    /// An error of the kind with the message, as `messageText` bounds it.
    package init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = messageText(message)
    }

    @usableFromInline package var description: String { message }

    /// The same error, its message led by the object it happened on: `layer sha256:…: message`.
    package func at(_ object: String) -> ContentError {
        var error = self
        error.message = "\(object): \(message)"
        return error
    }

    /// Corrupt data.
    package static func corrupt(_ message: String) -> ContentError {
        ContentError(.corrupt, message)
    }

    /// Data that ends early.
    @usableFromInline
    package static func truncated(_ message: String) -> ContentError {
        ContentError(.truncated, message)
    }

    /// Data this version does not support.
    package static func unsupported(_ message: String) -> ContentError {
        ContentError(.unsupported, message)
    }

    /// More than a limit that an option of the command line raises.
    ///
    /// - Parameters:
    ///   - message: what is too much.
    ///   - option: the option's name, without dashes.
    /// - Returns: the error.
    package static func limitExceeded(_ message: String, raisedBy option: String) -> ContentError {
        ContentError(.limitExceeded, "\(message); --\(option) raises the limit")
    }
}
