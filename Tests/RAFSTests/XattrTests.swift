// SPDX-License-Identifier: Apache-2.0

import Content
import RAFS
import TestSupport
import Testing

@Suite("Extended attributes")
struct XattrTests {
    private func xattr(_ name: String, _ count: Int) -> ExtendedAttribute {
        ExtendedAttribute(name: Array(name.utf8), value: [UInt8](repeating: 0x76, count: count))
    }

    private func comeBack(_ xattrs: [ExtendedAttribute]) throws -> [ExtendedAttribute] {
        var tree = FileTree()
        var node = Images.node(.regular)
        node.xattrs = xattrs
        let id = Images.add(FileName("f"), node, of: &tree)
        Images.add(FileName("g"), Images.node(.symlink), of: &tree)
        let image = try Images.bootstrap(tree)
        let result = try Images.tree(of: image)
        #expect(try BootstrapLayout(image.rawSpan).hasXattrs == !xattrs.isEmpty)
        return result[result[FileTree.root].children[FileName("f")] ?? id].xattrs
    }

    @Test func everyPrefixAndSizeComesBack() throws {
        #expect(try comeBack([]).isEmpty)
        for size in [0, 1, 2, 3, 4, 5, 4000, 65535] {
            let all = [
                xattr("security.capability", size), xattr("system.posix_acl_access", size),
                xattr("system.posix_acl_default", 3), xattr("trusted.overlay.x", 0),
                xattr("user.a", size), xattr("user.\(String(repeating: "n", count: 250))", 7),
            ]
            #expect(try comeBack(all) == all)
        }
    }

    @Test func asMuchAsAnInodeCanTellIsKept() throws {
        // 12 bytes of header, then 4 + name + value each, rounded up to 4: 12 + 4 * 65534 in all.
        let room = 4 * 65534
        let entry = 4 + 1 + 65535
        var xattrs = (0..<3).map { xattr("user.\($0)", 65535) }
        let rest = room - 3 * entry - 4 - 1
        xattrs.append(xattr("user.r", rest))
        #expect(try comeBack(xattrs).map(\.value.count) == [65535, 65535, 65535, rest])
        xattrs[3].value.append(0)
        let error = #expect(throws: ContentError.self) { try comeBack(xattrs) }
        #expect(error?.kind == .limitExceeded)
        #expect(error?.message == "/f: \(12 + room + 4) bytes of xattrs on one file")
    }

    @Test(arguments: [
        "user.", "user", "trusted.", "security.", "system.posix_acl", "system.posix_acl_accessory",
        "system.nfs4_acl", "lustre.x", "", "User.a", ".user.a",
    ])
    func namesWithoutANumberCannotBeStored(_ name: String) {
        #expect(!XattrEncoder.canStore(xattr(name, 1)))
        let error = #expect(throws: ContentError.self) { try comeBack([xattr(name, 1)]) }
        #expect(error?.message == "/f: xattr \(name) cannot be stored in RAFS")
    }

    @Test func namesAndValuesThatAreTooLongCannotBeStored() {
        #expect(XattrEncoder.canStore(xattr("user.\(String(repeating: "n", count: 255))", 65535)))
        #expect(!XattrEncoder.canStore(xattr("user.\(String(repeating: "n", count: 256))", 1)))
        #expect(!XattrEncoder.canStore(xattr("user.a", 65536)))
    }

    @Test func twoOfOneNameAreCorrupt() throws {
        var tree = FileTree()
        tree[FileTree.root].xattrs = [xattr("user.a", 1), xattr("user.a", 2)]
        let image = try Images.bootstrap(tree)
        let error = #expect(throws: ContentError.self) { try Images.tree(of: image) }
        #expect(error?.message == "inode 128: two xattrs user.a")
    }
}
