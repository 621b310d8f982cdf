// SPDX-License-Identifier: Apache-2.0

/// A directory whose content is to be deleted, whatever lies in it.
///
/// Nothing mounted is entered: it is kept, with the directories above it. Names of any depth are
/// deleted with few descriptors: what lies deep is moved up first.
package struct Trash {
    private struct Level {
        var directory: DirectoryStream
        var name: [UInt8]
        /// Something in it was removed since its reading began.
        var hasProgress = false
        /// Something in it stays.
        var isKept = false
    }

    /// As many directories are open at once.
    private static let depthLimit = 64
    /// As many reasons are told.
    private static let reasonLimit = 16

    private let path: String
    private var kept: Set<[UInt8]> = []
    private var moved = 0
    private var reasons: [SystemError] = []

    private init(_ path: String) {
        self.path = path
    }

    /// Deletes what is in a directory, not the directory itself.
    ///
    /// - Parameters:
    ///   - path: the directory.
    ///   - goesOn: asked now and then; deleting ends when it says no.
    /// - Returns: why something was kept, each naming it; at most 16.
    /// - Throws: `SystemError` if the directory cannot be read.
    package static func empty(
        _ path: String,
        while goesOn: () -> Bool
    ) throws(SystemError) -> [SystemError] {
        var trash = Trash(path)
        // What was deep lies at the top now, and what others move in meanwhile: look again.
        while goesOn() {
            let top = try DirectoryStream(path)
            var names: [[UInt8]] = []
            while let entry = try top.next() {
                if !trash.kept.contains(entry.name) { names.append(entry.name) }
            }
            guard !names.isEmpty else { break }
            for name in names where goesOn() {
                try trash.remove(name, in: top, while: goesOn)
            }
        }
        return trash.reasons
    }

    private mutating func remove(
        _ name: [UInt8],
        in top: DirectoryStream,
        while goesOn: () -> Bool
    ) throws(SystemError) {
        var stack = [Level(directory: top, name: [])]
        enter(name, &stack, top)
        while stack.count > 1, goesOn() {
            let last = stack.count - 1
            let directory = stack[last].directory
            guard let entry = try directory.next() else {
                leave(&stack)
                continue
            }
            if entry.isDirectory == false {
                unlink(entry.name, &stack)
            } else if stack.count > Self.depthLimit {
                moveUp(entry.name, &stack, top)
            } else {
                enter(entry.name, &stack, top)
            }
        }
        if stack[0].isKept { kept.insert(name) }
    }

    /// Begins with a directory; what turns out to be something else is unlinked.
    private mutating func enter(_ name: [UInt8], _ stack: inout [Level], _ top: DirectoryStream) {
        do throws(SystemError) {
            let directory = try stack[stack.count - 1].directory.directory(name)
            stack.append(Level(directory: directory, name: name))
        } catch  where error.isNotADirectory {
            unlink(name, &stack)
        } catch  where error.isOtherFileSystem {
            keep(SystemError("delete", "a mount at \(text(stack, name))", code: error.code), &stack)
        } catch {
            keep(SystemError(error.call, text(stack, name), code: error.code), &stack)
        }
    }

    private mutating func unlink(_ name: [UInt8], _ stack: inout [Level]) {
        let last = stack.count - 1
        do throws(SystemError) {
            try stack[last].directory.remove(name, isDirectory: false)
            stack[last].hasProgress = true
        } catch  where error.isNotFound {
            return
        } catch {
            keep(SystemError(error.call, text(stack, name), code: error.code), &stack)
        }
    }

    private mutating func moveUp(_ name: [UInt8], _ stack: inout [Level], _ top: DirectoryStream) {
        let last = stack.count - 1
        moved += 1
        do throws(SystemError) {
            let newName = "deep-\(CurrentProcess.id)-\(moved)"
            // A file is moved as well, where the file system does not say what it is.
            try stack[last].directory.move(name, to: top, as: newName)
            stack[last].hasProgress = true
        } catch {
            keep(SystemError(error.call, text(stack, name), code: error.code), &stack)
        }
    }

    /// Removes a directory that has been read to its end.
    private mutating func leave(_ stack: inout [Level]) {
        let level = stack.removeLast()
        guard !level.isKept else { return }
        do throws(SystemError) {
            try stack[stack.count - 1].directory.remove(level.name, isDirectory: true)
            stack[stack.count - 1].hasProgress = true
        } catch  where error.isNotEmpty && level.hasProgress {
            // readdir(3) may miss entries of a directory that changes.
            level.directory.rewind()
            stack.append(Level(directory: level.directory, name: level.name))
        } catch {
            keep(SystemError(error.call, text(stack, level.name), code: error.code), &stack)
        }
    }

    private mutating func keep(_ reason: SystemError, _ stack: inout [Level]) {
        for index in stack.indices { stack[index].isKept = true }
        if reasons.count < Self.reasonLimit { reasons.append(reason) }
    }

    private func text(_ stack: [Level], _ name: [UInt8]) -> String {
        let names = stack.dropFirst().map(\.name) + [name]
        return path + names.map { "/" + String(decoding: $0, as: UTF8.self) }.joined()
    }
}
