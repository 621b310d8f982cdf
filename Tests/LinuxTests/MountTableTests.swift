// SPDX-License-Identifier: Apache-2.0

import Linux
import Testing

@Suite("Mount table")
struct MountTableTests {
    private static let text = """
        22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
        36 22 0:33 / /mnt/with\\040blank ro,relatime shared:7 master:2 - fuse.lazypull oci:a\\134b ro
        37 36 0:34 / /mnt/with\\040blank ro,relatime - fuse.lazypull second ro
        malformed line
        38 22 0:35 / /short - tmpfs
        39 22 0:36 / /tmp rw - tmpfs tmpfs rw
        """

    @Test func readsWhatTheKernelEscapes() {
        let table = MountTable(mountinfo: Array(Self.text.utf8))
        #expect(table.entries.map(\.id) == [22, 36, 37, 39])
        #expect(table.entries[1].mountPoint == Array("/mnt/with blank".utf8))
        #expect(table.entries[1].source == Array("oci:a\\b".utf8))
        #expect(table.entries[1].device == "0:33")
    }

    @Test func theLaterOfTwoMountsIsOnTop() {
        let table = MountTable(mountinfo: Array(Self.text.utf8))
        #expect(table.topmost(at: "/mnt/with blank")?.id == 37)
        #expect(table.topmost(at: "/tmp")?.type == "tmpfs")
        #expect(table.topmost(at: "/mnt") == nil)
    }

    @Test func everyPrefixOfTheTextIsReadWithoutATrap() {
        let bytes = Array(Self.text.utf8)
        for count in 0...bytes.count {
            #expect(MountTable(mountinfo: Array(bytes.prefix(count))).entries.count <= 4)
        }
    }

    @Test func listsTheMountsOfThisProcess() throws {
        // Not "/": in a plain chroot that is no mount.
        #expect(try MountTable().topmost(at: "/proc") != nil)
    }

    @Test func aMountThatAnswersIsAlive() throws {
        #expect(try Liveness.probe("/", milliseconds: 5_000) == .alive)
        #expect(try Liveness.probe("/absent", milliseconds: 5_000) == .failed(2))
    }
}
