// SPDX-License-Identifier: Apache-2.0

import Content
import RAFS

/// Bootstraps: everything a mount, a check and a merge ask of one.
enum BootstrapTarget {
    static func run(_ bytes: [UInt8]) {
        run(bytes, readsText: true)
    }

    private static func run(_ bytes: [UInt8], readsText: Bool) {
        guard let layout = try? BootstrapLayout(bytes.rawSpan) else { return }
        let view = Bootstrap(bytes: bytes.rawSpan, layout: layout)
        _ = try? layout.checkReadable()
        _ = try? view.prefetchList()
        _ = try? view.verifiedTree { (address) throws(ContentError) in
            Chunk(
                digest: .zero,
                compressedOffset: CompressedOffset(UInt64(address.index) * 4096),
                compressedSize: 4096,
                uncompressedOffset: UncompressedOffset(UInt64(address.index) * 4096),
                uncompressedSize: 4096
            )
        }
        tryText(of: view, readsBack: readsText)
        let start = (try? view.root().nid) ?? 0
        for nid in start..<start + 12 {
            if let inode = try? view.inode(nid) { tryAll(inode, of: view) }
        }
        for nid: UInt64 in [0, .max, .max / 32, UInt64(bytes.count) / 32 - 1] {
            if let inode = try? view.inode(nid) { tryAll(inode, of: view) }
        }
        walk(view)
    }

    /// Changes to a good image: 2 bytes of place, 1 byte of count and as many bytes, repeated.
    ///
    /// A mutation of so short an input hits a field far more often than one of an image, most of
    /// which is zeros.
    static func runPatches(_ patches: [UInt8]) {
        var image = Seeds.bootstrap
        var position = 0
        while position + 3 < patches.count {
            let place = Int(patches[position]) | Int(patches[position + 1]) << 8
            let count = min(1 + Int(patches[position + 2] & 0xf), patches.count - position - 3)
            for index in 0..<count where place + index < image.count {
                image[place + index] = patches[position + 3 + index]
            }
            position += 3 + count
        }
        // The text is the slow half of it, and `bootstrap` reads that.
        run(image, readsText: false)
    }

    /// What can be read can be written as text, and such text can be read.
    private static func tryText(of view: borrowing Bootstrap, readsBack: Bool) {
        guard let dump = try? ImageDump(view) else { return }
        var text = ""
        dump.write { text += "\($0)\n" }
        if readsBack { _ = try? ImageText(text).bootstrap() }
    }

    /// The tree as a mount walks it, which does not check it whole before.
    private static func walk(_ view: borrowing Bootstrap) {
        guard let root = try? view.root() else { return }
        var pending = [root]
        var steps = 0
        while let directory = pending.popLast() {
            try? view.forEachEntry(of: directory) { (entry) throws(ContentError) in
                steps += 1
                guard steps < 200 else { return false }
                let found = try view.lookup(entry.name, in: directory)
                let inode = try view.inode(found ?? entry.nid)
                if steps % 4 == 0 { tryAll(inode, of: view) }
                if inode.type == .directory { pending.append(inode) }
                return true
            }
            guard steps < 200 else { return }
        }
    }

    private static func tryAll(_ inode: Inode, of view: borrowing Bootstrap) {
        _ = try? view.xattrs(of: inode)
        _ = try? view.symlinkTarget(of: inode).byteCount
        _ = inode.device
        tryEntries(of: inode, view)
        for name in [[], [0x2e], [0x6e, 0x31], [UInt8](repeating: 0xff, count: 300)] {
            _ = try? view.lookup(name.rawSpan, in: inode)
        }
        for index: UInt64 in [0, 1, view.chunkCount(of: inode) &- 1, 1 << 40, .max] {
            _ = try? view.chunk(index, of: inode)
        }
        for offset: UInt64 in [0, 4095, inode.size &- 1, inode.size, 1 << 55, .max] {
            for count: UInt64 in [0, 1, 4097, .max] {
                trySlices(of: inode, view, offset, count)
            }
        }
    }

    private static func tryEntries(of inode: Inode, _ view: borrowing Bootstrap) {
        for position: UInt64 in [0, 1, 24, 4095, 4096, inode.size, 1 << 40, .max - 4095, .max] {
            var count = 0
            var last = position
            try? view.forEachEntry(of: inode, from: position) { (entry) throws(ContentError) in
                require(entry.nextPosition > last, "\(last) leads back to \(entry.nextPosition)")
                last = entry.nextPosition
                count += 1
                return count < 50
            }
        }
    }

    private static func trySlices(
        of inode: Inode,
        _ view: borrowing Bootstrap,
        _ offset: UInt64,
        _ count: UInt64
    ) {
        var slices = 0
        var done: UInt64 = 0
        try? view.forEachSlice(of: inode, offset: offset, count: count) {
            (slice) throws(ContentError) in
            require(slice.count > 0, "an empty slice")
            require(
                UInt64(slice.offset) + UInt64(slice.count) <= UInt64(view.layout.chunkSize),
                "a slice leaves its chunk"
            )
            done += UInt64(slice.count)
            require(done <= count, "\(done) bytes for \(count)")
            slices += 1
            if slices > 20 { throw .corrupt("enough") }
        }
    }
}
