// SPDX-License-Identifier: Apache-2.0

import CFuse
import CLinux
import Glibc

/// Bytes of an answer, collected in the memory of the worker that answers.
@safe
package struct ReplyBuffer: ~Copyable {
    private let memory: UnsafeMutableRawBufferPointer
    /// How many bytes were appended, also beyond what the memory holds.
    package private(set) var count = 0

    init(_ memory: UnsafeMutableRawBufferPointer) {
        unsafe self.memory = memory
    }

    /// Appends bytes; those beyond the memory's end are counted only.
    package mutating func append(_ bytes: RawSpan) {
        // Nothing at all does not fit behind the end either.
        if unsafe count <= memory.count && bytes.byteCount <= memory.count - count {
            let target = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[count...])
            unsafe bytes.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
        }
        count += bytes.byteCount
    }

    /// Appends one byte.
    package mutating func append(_ byte: UInt8) {
        if unsafe count < memory.count { unsafe memory[count] = byte }
        count += 1
    }

    /// What was appended; nil if the memory was too small for it.
    var contents: RawSpan? {
        @_lifetime(borrow self)
        borrowing get {
            guard unsafe count <= memory.count else { return nil }
            let bytes = unsafe UnsafeRawBufferPointer(rebasing: memory[..<count])
            return unsafe _overrideLifetime(RawSpan(_unsafeBytes: bytes), borrowing: self)
        }
    }
}

/// A directory's entries, as the kernel wants them, in the memory of the worker that answers.
@safe
package struct DirectoryBuffer: ~Copyable {
    private let memory: UnsafeMutableRawBufferPointer
    private let request: fuse_req_t
    private let numbers: NodeNumbers
    /// Whether each entry comes with its attributes (READDIRPLUS).
    package let hasAttributes: Bool
    private(set) var count = 0

    /// fuse_entry_out (128 bytes) and fuse_dirent (24 bytes), linux/fuse.h.
    private static let entrySize = 128
    private static let direntSize = 24

    init(
        _ memory: UnsafeMutableRawBufferPointer,
        request: fuse_req_t,
        numbers: NodeNumbers,
        hasAttributes: Bool
    ) {
        unsafe self.memory = memory
        unsafe self.request = request
        self.numbers = numbers
        self.hasAttributes = hasAttributes
    }

    var contents: RawSpan {
        @_lifetime(borrow self)
        borrowing get {
            let bytes = unsafe UnsafeRawBufferPointer(rebasing: memory[..<count])
            return unsafe _overrideLifetime(RawSpan(_unsafeBytes: bytes), borrowing: self)
        }
    }

    /// Adds an entry.
    ///
    /// - Parameters:
    ///   - name: the name's bytes: 1...255, none of them zero; another name is passed over.
    ///   - node: the number of the node it names.
    ///   - typeBits: the node's type as in `st_mode`.
    ///   - position: where the directory goes on after this entry; not 0.
    ///   - attributes: the node's attributes, asked for only if they are wanted; nil if they cannot
    ///     be had: the name is listed, and looking it up will tell why.
    /// - Returns: false if there is no room for it; nothing was added then.
    package mutating func add(
        _ name: RawSpan,
        node: UInt64,
        typeBits: UInt32,
        position: UInt64,
        attributes: () -> FuseAttributes?
    ) -> Bool {
        guard (1...255).contains(name.byteCount) else { return true }
        let nameSize = (name.byteCount + 7) & ~7
        let size = Self.direntSize + nameSize + (hasAttributes ? Self.entrySize : 0)
        guard unsafe size <= memory.count - count else { return false }
        let next = off_t(truncatingIfNeeded: position)
        return unsafe withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { text in
            unsafe name.withUnsafeBytes { unsafe text.copyMemory(from: $0) }
            unsafe text[name.byteCount] = 0
            guard let start = unsafe text.baseAddress?.assumingMemoryBound(to: CChar.self),
                unsafe strlen(start) == name.byteCount
            else { return true }
            let target = unsafe memory.baseAddress?.advanced(by: count)
                .assumingMemoryBound(to: CChar.self)
            if hasAttributes {
                var entry = entry(node, typeBits, isDots: Self.isDots(name), attributes)
                unsafe fuse_add_direntry_plus(request, target, size, start, &entry, next)
            } else {
                var status = stat()
                status.st_ino = UInt(node)
                status.st_mode = typeBits
                unsafe fuse_add_direntry(request, target, size, start, &status, next)
            }
            count += size
            return true
        }
    }

    private func entry(
        _ node: UInt64,
        _ typeBits: UInt32,
        isDots: Bool,
        _ attributes: () -> FuseAttributes?
    ) -> fuse_entry_param {
        // "." and ".." are not lookups: the kernel takes no reference for them.
        if !isDots, let attributes = attributes() {
            return numbers.entry(attributes)
        }
        var entry = fuse_entry_param()
        entry.attr.st_ino = UInt(node)
        entry.attr.st_mode = typeBits
        return entry
    }

    private static func isDots(_ name: RawSpan) -> Bool {
        unsafe name.withUnsafeBytes { bytes in
            unsafe bytes.count <= 2 && bytes.allSatisfy { $0 == UInt8(ascii: ".") }
        }
    }
}
