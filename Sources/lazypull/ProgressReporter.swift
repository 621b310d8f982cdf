// SPDX-License-Identifier: Apache-2.0

internal import Distribution
internal import Linux
internal import Synchronization

/// Shows progress on standard error: a bar on a terminal, now and then a line elsewhere, or nothing.
///
/// Any thread may update it, as often as it likes: most updates cost a look at the clock.
final class ProgressReporter: Sendable {
    private enum Style {
        case none
        case bar
        case lines
    }

    private struct State {
        var lastPrinted: UInt64
        var hasBar = false
        var latest: LayerProgress?
    }

    private let style: Style
    private let verb: String
    private let start: UInt64
    private let state: Mutex<State>

    /// Nanoseconds between two pictures of the bar: smooth to the eye, nothing to the terminal.
    private static let barInterval: UInt64 = 100_000_000
    /// Nanoseconds between two lines: a log of a long conversion stays short.
    private static let lineInterval: UInt64 = 10_000_000_000

    /// A reporter.
    ///
    /// - Parameters:
    ///   - verb: what is being done: `converting`.
    ///   - isQuiet: whether nothing is to be shown.
    init(_ verb: String, isQuiet: Bool) {
        let isTerminal =
            StandardStream.error.isTerminal && CurrentProcess.environment("TERM") != "dumb"
        style = isQuiet ? .none : isTerminal ? .bar : .lines
        self.verb = verb
        start = CurrentProcess.monotonicNanoseconds
        state = Mutex(State(lastPrinted: start))
    }

    /// Takes note of how far the work is, and shows it if it is time to.
    func update(_ progress: LayerProgress) {
        guard style != .none else { return }
        let now = CurrentProcess.monotonicNanoseconds
        let interval = style == .bar ? Self.barInterval : Self.lineInterval
        state.withLock { state in
            state.latest = progress
            guard now &- state.lastPrinted >= interval else { return }
            state.lastPrinted = now
            show(progress, at: now, &state)
        }
    }

    /// Prints a line at once.
    func note(_ text: String) {
        guard style != .none else { return }
        state.withLock { state in
            erase(&state)
            print("\(verb): \(text)\n")
        }
    }

    /// Ends the report: the bar goes, a last line stays.
    func finish() {
        guard style != .none else { return }
        state.withLock { state in
            erase(&state)
            guard let progress = state.latest else { return }
            print("\(text(progress, at: CurrentProcess.monotonicNanoseconds))\n")
        }
    }

    /// Takes the bar away, so that an error message stands on a line of its own.
    func abandon() {
        state.withLock { erase(&$0) }
    }

    private func show(_ progress: LayerProgress, at now: UInt64, _ state: inout State) {
        let text = text(progress, at: now)
        guard style == .bar else {
            print("\(text)\n")
            return
        }
        let room = StandardStream.error.columns - text.count - 4
        var line = text
        if room >= 10 {
            let filled = Int(Double(room) * fraction(progress))
            let bar =
                String(repeating: "=", count: filled)
                + String(repeating: " ", count: room - filled)
            line = "[\(bar)] \(text)"
        } else {
            line = String(text.prefix(max(0, StandardStream.error.columns - 1)))
        }
        // To the line's start, and clear what a longer picture left.
        print("\r\(line)\u{1B}[K")
        state.hasBar = true
    }

    private func erase(_ state: inout State) {
        guard state.hasBar else { return }
        print("\r\u{1B}[K")
        state.hasBar = false
    }

    private func fraction(_ progress: LayerProgress) -> Double {
        guard progress.totalBytes > 0 else { return 1 }
        return min(1, Double(progress.doneBytes) / Double(progress.totalBytes))
    }

    /// `converting 42 %, 1.2 GiB of 2.8 GiB, 310 MiB/s, layer 3 of 7`.
    private func text(_ progress: LayerProgress, at now: UInt64) -> String {
        let seconds = Double(now &- start) / 1e9
        let rate = seconds > 0.05 ? Double(progress.doneBytes) / seconds : 0
        let percent = Int(100 * fraction(progress))
        var parts = [
            "\(verb) \(percent) %",
            "\(ByteCount.text(progress.doneBytes)) of \(ByteCount.text(progress.totalBytes))",
        ]
        if rate >= 1 { parts.append("\(ByteCount.text(UInt64(rate)))/s") }
        parts.append("\(progress.doneLayers) of \(progress.totalLayers) layers")
        return parts.joined(separator: ", ")
    }

    /// LayerProgress that cannot be shown is no reason to stop.
    private func print(_ text: String) {
        try? StandardStream.error.write(text)
    }
}
