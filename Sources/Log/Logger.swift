// SPDX-License-Identifier: Apache-2.0
//
// Log: one event, one line. What is logged never holds a secret: no header, no token, no URL with
// its query or user part.

import Glibc
import Synchronization

/// Writes events, from any thread, as lines to one descriptor, or to the journal.
///
/// A line is one write(2), so that lines of several processes that append to one file do not mix.
/// An event below the level costs one comparison: its message and fields are not made.
package final class Logger: Sendable {
    /// The level's raw value.
    private let threshold: Atomic<UInt8>
    /// The raw value of the lines' format.
    private let format: Atomic<UInt8>
    private let output: Mutex<Int32>
    private let isOwner: Bool
    private let isJournal: Bool

    /// A logger to standard error.
    ///
    /// - Parameters:
    ///   - level: the most talkative level that is written.
    ///   - format: what the lines look like.
    package init(level: LogLevel, format: LogFormat = .text) {
        threshold = Atomic(level.rawValue)
        self.format = Atomic(format.rawValue)
        output = Mutex(STDERR_FILENO)
        isOwner = false
        isJournal = false
    }

    /// A logger to a descriptor, opened for appending, which it closes at its end.
    ///
    /// - Parameters:
    ///   - level: the most talkative level that is written.
    ///   - format: what the lines look like.
    ///   - descriptor: the descriptor's number, given away by the caller.
    package init(level: LogLevel, format: LogFormat = .text, owning descriptor: Int32) {
        threshold = Atomic(level.rawValue)
        self.format = Atomic(format.rawValue)
        output = Mutex(descriptor)
        isOwner = true
        isJournal = false
    }

    /// A logger to the journal of systemd; nil if there is none.
    ///
    /// - Parameters:
    ///   - level: the most talkative level that is written.
    ///   - path: where the journal listens; nil for its usual place.
    package init?(level: LogLevel, journal path: String?) {
        guard let socket = Journal.connect(path ?? Journal.path) else { return nil }
        threshold = Atomic(level.rawValue)
        format = Atomic(LogFormat.text.rawValue)
        output = Mutex(socket)
        isOwner = true
        isJournal = true
    }

    deinit {
        guard isOwner else { return }
        output.withLock { _ = close($0) }
    }

    /// Whether events of the level are written.
    package func writes(_ level: LogLevel) -> Bool {
        level.rawValue <= threshold.load(ordering: .relaxed)
    }

    /// Changes the most talkative level that is written.
    package func setLevel(_ level: LogLevel) {
        threshold.store(level.rawValue, ordering: .relaxed)
    }

    /// Changes what the lines look like; the journal gets none, and nothing changes there.
    package func setFormat(_ format: LogFormat) {
        self.format.store(format.rawValue, ordering: .relaxed)
    }

    /// Logs that something asked for did not happen.
    package func error(
        _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> LogFields = [:]
    ) {
        log(.error, message(), fields())
    }

    /// Logs what went wrong and was mended.
    package func warning(
        _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> LogFields = [:]
    ) {
        log(.warning, message(), fields())
    }

    /// Logs what a person who looks after the machine wants to find later.
    package func info(
        _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> LogFields = [:]
    ) {
        log(.info, message(), fields())
    }

    /// Logs what helps to find a fault.
    package func debug(
        _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> LogFields = [:]
    ) {
        log(.debug, message(), fields())
    }

    /// Logs an event.
    ///
    /// A line that cannot be written is lost: a full disk must not stop a mount.
    ///
    /// - Parameters:
    ///   - level: how much it matters.
    ///   - message: what happened, a constant text where possible, so that it can be searched for.
    ///   - fields: what it happened to.
    package func log(
        _ level: LogLevel,
        _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> LogFields = [:]
    ) {
        guard writes(level) else { return }
        let line: [UInt8]
        if isJournal {
            line = Journal.entry(level, message(), fields())
        } else {
            let format = LogFormat(rawValue: format.load(ordering: .relaxed)) ?? .text
            line = format.line(level, message(), fields(), at: Timestamp())
        }
        // The lock only keeps the rest of a line that a pipe took in part behind its beginning.
        output.withLock { Self.write(line, to: $0) }
    }

    private static func write(_ line: [UInt8], to descriptor: Int32) {
        var done = 0
        while done < line.count {
            let count = unsafe line.withUnsafeBytes { bytes in
                let start = unsafe bytes.baseAddress?.advanced(by: done)
                let count = unsafe Glibc.write(descriptor, start, bytes.count - done)
                return count == -1 ? -Int(errno) : count
            }
            if count > 0 {
                done += count
            } else if count != -Int(EINTR) {
                return
            }
        }
    }
}
