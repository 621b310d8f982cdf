// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Linux
internal import Log

/// The mounts' descriptors, kept while the service is away: by the service manager if it keeps
/// descriptors (`FileDescriptorStoreMax=`), else by a process that this one starts.
final class MountDescriptors: Sendable {
    private struct State {
        /// What earlier processes left, by name; nil before it is asked for.
        var left: [String: StoredDescriptor]?
        /// Those of them that are in the former store.
        var moving: Set<String> = []
    }

    private let store: any DescriptorStore
    /// What a process left that had another store; nil if there is none.
    private let former: HolderStore?
    private let log: Logger
    private let state = Monitor(State())

    /// The store for a service; no other process is asked or started yet but the service manager.
    ///
    /// - Parameters:
    ///   - root: the service's directory, to which the holder belongs.
    ///   - log: told what happens to the holder.
    init(_ root: String, _ log: Logger) {
        let socket = "\(root)/holder.sock"
        self.log = log
        if let manager = ServiceManagerStore() {
            store = manager
            former = HolderStore(socket, start: nil)
            return
        }
        if ServiceNotifier.isManaged {
            log.warning(
                "the service manager keeps no descriptors (FileDescriptorStoreMax= in the unit):"
                    + " mounts outlive this process only where it spares the unit's others (KillMode=)"
            )
        }
        former = nil
        store = HolderStore(
            socket,
            start: { listener throws(SystemError) in
                try HolderProcess.start(socket, listener)
            },
            report: { event in
                switch event {
                case .replaced:
                    log.warning("the holder of descriptors has ended: another one has them all")
                case .lost(let error):
                    log.error(
                        "no holder of descriptors: mounts would end with this process",
                        ["error": error]
                    )
                }
            }
        )
    }

    /// Keeps a mount's descriptor.
    ///
    /// - Returns: the name it has.
    func put(_ descriptor: consuming OwnedDescriptor) throws(SystemError) -> String {
        let name = "mount-\(CurrentProcess.randomName)"
        try store.put(name, descriptor.number)
        return name
    }

    /// Keeps a descriptor no more.
    func remove(_ name: String) {
        store.remove(name)
    }

    /// A mount's descriptor that an earlier process left; to be confirmed when it is served.
    func take(_ name: String) throws(SystemError) -> OwnedDescriptor {
        guard let stored = try leftDescriptors()[name] else { throw .notKept(name) }
        if state.update({ $0.moving.contains(name) }) {
            try store.put(name, stored.number)
            former?.remove(name)
            state.update { _ = $0.moving.remove(name) }
        }
        return try stored.duplicate()
    }

    /// A mount that an earlier process left is served: its descriptor is kept on.
    func confirm(_ name: String) {
        state.update { _ = $0.left?.removeValue(forKey: name) }
    }

    /// Keeps none of those any more that were not taken: their mounts end.
    func dropUntaken() {
        do throws(SystemError) {
            for name in try leftDescriptors().keys {
                store.remove(name)
                former?.remove(name)
            }
        } catch {
            log.error("the mounts' descriptors cannot be had", ["error": error])
            return
        }
        state.update { $0.left = [:] }
        // It has nothing any more, and ends when nobody is connected.
        former?.close()
    }

    /// What earlier processes left.
    ///
    /// - Throws: `SystemError` if this process has no room for it at the moment.
    private func leftDescriptors() throws(SystemError) -> [String: StoredDescriptor] {
        if let left = state.update({ $0.left }) { return left }
        var result: [String: StoredDescriptor] = [:]
        let moving = try inherited(former)
        for stored in try moving + inherited(store) { result[stored.name] = stored }
        state.update { state in
            state.left = result
            state.moving = Set(moving.map(\.name))
        }
        return result
    }

    private func inherited(
        _ store: (any DescriptorStore)?
    ) throws(SystemError) -> [StoredDescriptor] {
        do throws(SystemError) {
            return try store?.inherited() ?? []
        } catch {
            // Who keeps them has been waited for where he was slow.
            guard error.code == EAGAIN || !error.isShortage else { throw error }
            log.error("the mounts' descriptors cannot be had", ["error": error])
            return []
        }
    }
}
