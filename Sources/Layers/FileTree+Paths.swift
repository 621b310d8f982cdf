// SPDX-License-Identifier: Apache-2.0
//
// Layers: layer streams as trees, and trees of layers folded into one, with whiteouts.

package import Content

extension FileTree {
    /// The most symbolic links followed on one path, as the kernel counts them (MAXSYMLINKS).
    private static let maximumLinks = 40

    /// What a walk does where a name on its way is not there.
    enum Missing {
        /// Makes an implicit directory.
        case made
        /// Ends: there is no such directory.
        case absent
    }

    /// Walks to a directory, following symbolic links inside the tree.
    ///
    /// As in a chroot, `..` at the root stays there and absolute targets begin there.
    ///
    /// - Parameters:
    ///   - components: the path, relative to `start`.
    ///   - start: the directories from the root to the one to start at, both included.
    ///   - missing: what to do where a name is not there.
    ///   - limits: what the tree may cost.
    ///   - shown: the path for errors.
    /// - Returns: the directories from the root to the one reached; empty if there is none.
    /// - Throws: `ContentError` if a component is a file of another type, links form a loop, or a
    ///   limit is exceeded.
    mutating func directory(
        at components: some Sequence<FileName>,
        from start: [NodeID],
        missing: Missing = .made,
        limits: LayerLimits,
        shown: @autoclosure () -> String
    ) throws(ContentError) -> [NodeID] {
        var stack = start
        var pending = Array(components.map { $0 }.reversed())
        var links = 0
        while let name = pending.popLast() {
            let current = stack[stack.count - 1]
            if name.bytes == [0x2e] { continue }
            if name.bytes == [0x2e, 0x2e] {
                if stack.count > 1 { stack.removeLast() }
                continue
            }
            let child: NodeID
            if let known = self[current].children[name] {
                child = known
            } else {
                guard missing == .made else { return [] }
                child = try makeDirectory(name, in: current, limits: limits, shown: shown())
            }
            switch self[child].type {
            case .directory:
                try limits.check(depth: stack.count, shown: shown())
                stack.append(child)
            case .symlink:
                links += 1
                guard links <= Self.maximumLinks else {
                    throw .corrupt("\(shown()): more than \(Self.maximumLinks) symbolic links")
                }
                let target = self[child].target
                if target.first == 0x2f { stack.removeLast(stack.count - 1) }
                pending.append(contentsOf: Self.components(of: target).reversed())
            case let type:
                throw .corrupt("\(shown()): \(name) on the way to it is a \(type)")
            }
        }
        return stack
    }

    private mutating func makeDirectory(
        _ name: FileName,
        in parent: NodeID,
        limits: LayerLimits,
        shown: @autoclosure () -> String
    ) throws(ContentError) -> NodeID {
        guard name.isValid else { throw .corrupt("\(shown()): a file cannot be named \(name)") }
        let made = try add(.implicitDirectory, limits: limits, shown: shown())
        self[parent].children[name] = made
        return made
    }

    /// The node a path leads to, symbolic links followed inside the tree as in a chroot.
    ///
    /// - Parameter path: the path; where it begins does not matter, it is taken from the root.
    /// - Returns: the node; nil if there is none, or a link leads nowhere.
    package func node(at path: [UInt8]) -> NodeID? {
        var stack = [Self.root]
        var pending = Array(Self.components(of: path).reversed())
        var links = 0
        while let name = pending.popLast() {
            let current = stack[stack.count - 1]
            // Below a file there is nothing, not even the file itself.
            guard self[current].type == .directory else { return nil }
            if name.bytes == [0x2e] { continue }
            if name.bytes == [0x2e, 0x2e] {
                if stack.count > 1 { stack.removeLast() }
                continue
            }
            guard let child = self[current].children[name] else { return nil }
            guard self[child].type == .symlink else {
                stack.append(child)
                continue
            }
            links += 1
            guard links <= Self.maximumLinks else { return nil }
            let target = self[child].target
            if target.first == 0x2f { stack.removeLast(stack.count - 1) }
            pending.append(contentsOf: Self.components(of: target).reversed())
        }
        return stack.last
    }

    /// Adds a node that has no name yet.
    mutating func add(
        _ node: Node,
        limits: LayerLimits,
        shown: @autoclosure () -> String
    ) throws(ContentError) -> NodeID {
        guard nodeCount < limits.entries else {
            throw .limitExceeded(
                "\(shown()): more than \(limits.entries) entries",
                raisedBy: "max-entries"
            )
        }
        return add(node)
    }

    /// The names between the slashes of a path; empty ones left out.
    static func components(of path: [UInt8]) -> [FileName] {
        path.split(separator: 0x2f).map { FileName($0) }
    }
}
