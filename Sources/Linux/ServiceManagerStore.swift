// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// The descriptor store of the service manager (sd_notify(3), FDSTORE; the unit's
/// `FileDescriptorStoreMax=`), which hands everything to the next process of the unit.
package final class ServiceManagerStore: DescriptorStore {
    private let received: [StoredDescriptor]

    /// Our names among those that the service manager has.
    private static let prefix = "lazypull-"
    /// What is tried with.
    private static let probe = "lazypull-probe"
    /// The first descriptor that is handed over (sd_listen_fds(3)).
    private static let firstDescriptor: Int32 = 3

    /// The store, with what it has handed over: to be made before this process opens anything.
    ///
    /// nil where no service manager keeps descriptors for this process.
    package init?() {
        received = Self.handedOver()
        guard received.isEmpty else { return }
        guard Self.keepsDescriptors() else { return nil }
    }

    private static func handedOver() -> [StoredDescriptor] {
        guard CurrentProcess.environment("LISTEN_PID") == "\(CurrentProcess.id)",
            let count = CurrentProcess.environment("LISTEN_FDS").flatMap({ Int32($0) }),
            (1...Int32.max - firstDescriptor).contains(count)
        else { return [] }
        let names = (CurrentProcess.environment("LISTEN_FDNAMES") ?? "")
            .split(separator: ":", omittingEmptySubsequences: false)
        var result: [StoredDescriptor] = []
        for (index, name) in names.prefix(Int(count)).enumerated() where name.hasPrefix(prefix) {
            let number = firstDescriptor + Int32(index)
            guard clinux_set_close_on_exec(number) == 0 else { continue }
            let descriptor = OwnedDescriptor(owning: number)
            result.append(StoredDescriptor(String(name.dropFirst(prefix.count)), descriptor))
        }
        return result
    }

    /// Whether the service manager keeps what it is given: it says so nowhere before systemd 254,
    /// but closes what it does not keep.
    private static func keepsDescriptors() -> Bool {
        do throws(SystemError) {
            var pipe = try HangupPipe()
            try ServiceNotifier.send("FDSTORE=1\nFDPOLL=0\nFDNAME=\(probe)", pipe.writingEnd)
            pipe.closeWritingEnd()
            try ServiceNotifier.waitUntilProcessed()
            let isKept = try !pipe.hasEnded(within: 0)
            forget(probe)
            return isKept
        } catch {
            return false
        }
    }

    package func inherited() -> [StoredDescriptor] { received }

    package func put(_ name: String, _ descriptor: Int32) throws(SystemError) {
        // Of two with one name the manager would keep both.
        remove(name)
        // Not to be polled (systemd 246): the manager would be woken by every request of the mount's.
        try ServiceNotifier.send("FDSTORE=1\nFDPOLL=0\nFDNAME=\(Self.prefix)\(name)", descriptor)
        // Of a process that has died meanwhile it would not know the unit.
        try ServiceNotifier.waitUntilProcessed()
    }

    package func remove(_ name: String) {
        Self.forget(Self.prefix + name)
    }

    private static func forget(_ name: String) {
        ServiceNotifier.send("FDSTOREREMOVE=1\nFDNAME=\(name)")
    }
}
