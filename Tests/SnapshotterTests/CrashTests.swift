// SPDX-License-Identifier: Apache-2.0

import Containerd
import Glibc
import Linux
import Synchronization
import TestSupport
import Testing

@testable import Snapshotter

/// A change that may be cut short, on a root that `Crash.setUp` has made.
enum Crash: String, CaseIterable, Codable, Sendable {
    case prepare
    case view
    case commit
    case remove
    case update
    case rebuild
    case damaged

    /// Before: the layers a and b above it; `active` and `gone`, made from b.
    func setUp(_ root: String) throws {
        try fill(root)
        // Closed by now: SQLite keeps the log of a file that is replaced under it.
        if self == .rebuild { try FileSystem.removeFile("\(root)/snapshots.db") }
        if self == .damaged {
            let wrong = [UInt8](repeating: 0x20, count: 4096)
            try unsafe FileSystem.replace("\(root)/snapshots.db", with: wrong.span.bytes)
        }
    }

    private func fill(_ root: String) throws {
        let snapshotter = try Snapshotter(root)
        try snapshotter.addLayer("a")
        try snapshotter.addLayer("b", "a")
        try snapshotter.prepare("active", "b", ["label": "old"])
        try snapshotter.prepare("gone", "b")
        let bytes: [UInt8] = [1, 2, 3]
        try unsafe FileSystem.replace("\(snapshotter.upper("active"))/file", with: bytes.span.bytes)
        snapshotter.waitUntilIdle()
        snapshotter.close()
    }

    /// The change, with all that follows it.
    func run(_ root: String, _ steps: StepObserver) throws {
        let snapshotter = try Snapshotter(root, steps: steps)
        switch self {
        case .prepare: try snapshotter.prepare("new", "b", ["label": "new"])
        case .view: try snapshotter.view("new", "b")
        case .commit: try snapshotter.commit("c", "active", ["label": "new"])
        case .remove: try snapshotter.remove("gone")
        case .update: try snapshotter.update("active", ["label": "new"])
        case .rebuild, .damaged: break
        }
        snapshotter.waitUntilIdle()
        snapshotter.close()
    }

    /// The names that may be there after a death somewhere, and whether the change may be made.
    func check(_ snapshotter: Snapshotter) throws {
        let names = try snapshotter.names()
        let before = ["a", "active", "b", "gone"]
        let after =
            switch self {
            case .prepare, .view: ["a", "active", "b", "gone", "new"]
            case .commit: ["a", "b", "c", "gone"]
            case .remove: ["a", "active", "b"]
            case .update, .rebuild, .damaged: before
            }
        #expect(names == before || names == after, "\(names)")
        let writable = names.contains("c") ? "c" : "active"
        let file = try FileSystem.contents(of: "\(snapshotter.upper(writable))/file")
        #expect(file == [1, 2, 3])
        #expect(["old", "new"].contains(try snapshotter.stat(writable).labels["label"]))
        // containerd tries again, or removes what it does not know.
        if names == before, self != .update, self != .rebuild, self != .damaged {
            switch self {
            case .prepare, .view: try snapshotter.prepare("new", "b")
            case .commit: try snapshotter.commit("c", "active")
            default: try snapshotter.remove("gone")
            }
        }
        for name in ["gone", "new"] where try snapshotter.names().contains(name) {
            try snapshotter.remove(name)
        }
        for name in ["active", "c", "b", "a"] where try snapshotter.names().contains(name) {
            try snapshotter.remove(name)
        }
        #expect(try snapshotter.names().isEmpty)
    }
}

/// Ends the process at a step, as `kill -9` does.
private func killing(atStep number: Int) -> StepObserver {
    let count = Counter()
    return StepObserver { _ in
        if count.next() == number { kill(getpid(), SIGKILL) }
    }
}

private final class Counter: Sendable {
    private let value = Atomic(0)

    var current: Int { value.load(ordering: .relaxed) }

    @discardableResult
    func next() -> Int { value.wrappingAdd(1, ordering: .relaxed).newValue }
}

@Suite("Deaths of the snapshotter")
struct CrashTests {
    @Test(arguments: Crash.allCases)
    func everyStepMayBeTheLast(_ crash: Crash) async throws {
        let count = Counter()
        do {
            let directory = TemporaryDirectory()
            try crash.setUp("\(directory.path)/root")
            try crash.run("\(directory.path)/root", StepObserver { _ in count.next() })
        }
        try #require(count.current >= 3)
        for number in 1...count.current {
            let directory = TemporaryDirectory()
            let root = "\(directory.path)/root"
            try crash.setUp(root)
            await #expect(processExitsWith: .signal(SIGKILL)) {
                [crash = crash as Crash, root = root as String, number = number as Int] in
                try crash.run(root, killing(atStep: number))
            }
            let snapshotter = try Snapshotter(root)
            #expect(try snapshotter.disagreements() == [], "killed at step \(number)")
            try crash.check(snapshotter)
            #expect(try snapshotter.disagreements() == [], "killed at step \(number)")
            snapshotter.close()
        }
    }
}
