// SPDX-License-Identifier: Apache-2.0

import CFuse
import Glibc
package import Linux
import Synchronization

/// One mount's conversation with the kernel.
///
/// 1. The session's descriptor, and libfuse's session with it, live until the last request is
///    answered: every request holds a reference.
/// 2. The session ends when the kernel says ENODEV on the descriptor, not when umount(2) returned:
///    an overlay above, or an open file, keeps using it.
@safe
package final class FuseSession: @unchecked Sendable {
    // @unchecked: libfuse's session takes calls from several threads; `handle` is set once in init.
    let filesystem: any FuseFilesystem
    let numbers: NodeNumbers
    let parked = ParkedRequests()
    /// Who looks for the next request.
    let watch = SessionWatch()
    private(set) var handle: OpaquePointer?
    let record: SessionRecord
    private let ended: EventFlag
    /// The descriptor of /dev/fuse; libfuse's session closes it.
    let descriptor: Int32
    /// Whether answers are thrown away: while the kept INIT is processed.
    let isSilent = Atomic(false)

    /// The most bytes that one read asks for; what the kernel and workers agree on.
    static let largestRead = 1 << 20

    /// Mounts a file system, read-only; requests wait until workers serve the session.
    ///
    /// Neither `nosuid` nor `nodev` is set: the mount is a root file system of containers, whose
    /// programs need their setuid bits; which devices they may open is decided by their cgroup, as
    /// it is on the overlay of an unpacked image. Only root can make such a mount.
    ///
    /// - Parameters:
    ///   - filesystem: what is served.
    ///   - path: the directory to mount at.
    ///   - source: what the mount table shows as mounted.
    ///   - restrictions: what else is forbidden; an ordinary user's mount forbids devices and
    ///     setuid programs anyway.
    /// - Throws: `SystemError`.
    package init(
        _ filesystem: any FuseFilesystem,
        mountedAt path: String,
        source: String,
        restrictions: MountRestrictions = []
    ) throws(SystemError) {
        self.filesystem = filesystem
        numbers = NodeNumbers(root: filesystem.rootNode)
        ended = try EventFlag()
        // Only a mount of the machine's own user namespace can be mapped.
        record = SessionRecord(allowsIDMapping: CurrentProcess.isRoot)
        guard CurrentProcess.isRoot else {
            let device = try UserMount.mount(
                at: path,
                source: source,
                restrictions: restrictions,
                maximumRead: Self.largestRead
            )
            descriptor = device.number
            try open(device)
            return
        }
        let device = try OwnedDescriptor.open("/dev/fuse", O_RDWR | O_NONBLOCK)
        descriptor = device.number
        try open(device)
        try mountFileSystem(
            source: source,
            at: path,
            type: Self.typeName,
            restrictions: restrictions.union(.readOnly),
            options: "fd=\(descriptor),rootmode=40000,user_id=\(geteuid()),group_id=\(getegid()),"
                + "allow_other,default_permissions,max_read=\(Self.largestRead)"
        )
    }

    /// Takes over a mount that another process served; requests wait until workers serve it.
    ///
    /// What that process received and did not answer comes again after `resendRequests`.
    ///
    /// - Parameters:
    ///   - filesystem: what is served: the same nodes with the same numbers.
    ///   - device: the mount's descriptor of /dev/fuse, which nobody else reads any more.
    ///   - initRequest: the INIT request that the kernel sent on it, as `keptInitRequest` was.
    /// - Throws: `SystemError`: EPROTO if that is no INIT request.
    package init(
        _ filesystem: any FuseFilesystem,
        takingOver device: consuming OwnedDescriptor,
        initRequest: [UInt8]
    ) throws(SystemError) {
        self.filesystem = filesystem
        numbers = NodeNumbers(root: filesystem.rootNode)
        ended = try EventFlag()
        record = SessionRecord(allowsIDMapping: CurrentProcess.isRoot)
        descriptor = device.number
        try open(device)
        try replay(initRequest)
    }

    /// The type that the mount table shows for mounts of ours.
    package static let typeName = "fuse.lazypull"

    deinit {
        // Closes the descriptor as well.
        if let handle = unsafe handle { unsafe fuse_session_destroy(handle) }
    }

    /// Makes libfuse's session, which takes the descriptor over.
    ///
    /// Its user data is this object, not retained: callbacks come only from `process`, which a
    /// caller with a reference runs, and deinit destroys the session.
    private func open(_ device: consuming OwnedDescriptor) throws(SystemError) {
        var operations = Self.operations()
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe handle = Self.makeHandle(&operations, context)
        guard let handle = unsafe handle else {
            throw SystemError("fuse_session_new", "/dev/fuse", code: ENOMEM)
        }
        var calls = fuse_custom_io()
        unsafe calls.read = { number, buffer, size, _ in
            unsafe Glibc.read(number, buffer, size)
        }
        unsafe calls.writev = { number, parts, count, context in
            if let context = unsafe context {
                let session = unsafe Unmanaged<FuseSession>.fromOpaque(context)
                unsafe session._withUnsafeGuaranteedRef {
                    unsafe $0.record.add(reply: parts, count: count)
                }
                // The kernel has had its answer to INIT, from the process before.
                if unsafe session._withUnsafeGuaranteedRef({ $0.isSilent.load(ordering: .relaxed) })
                {
                    return unsafe FuseSession.byteCount(parts, count)
                }
            }
            return unsafe Glibc.writev(number, parts, count)
        }
        let result = unsafe fuse_session_custom_io(handle, &calls, device.number)
        guard result == 0 else {
            throw SystemError("fuse_session_custom_io", "/dev/fuse", code: -result)
        }
        _ = device.release()
    }

    private static func makeHandle(
        _ operations: inout fuse_lowlevel_ops,
        _ context: UnsafeMutableRawPointer
    ) -> OpaquePointer? {
        unsafe "lazypull".withCString { name in
            var arguments: [UnsafeMutablePointer<CChar>?] = unsafe [
                UnsafeMutablePointer(mutating: name), nil,
            ]
            return unsafe arguments.withUnsafeMutableBufferPointer { list in
                var parsed = unsafe fuse_args(argc: 1, argv: list.baseAddress, allocated: 0)
                return unsafe fuse_session_new(
                    &parsed,
                    &operations,
                    MemoryLayout<fuse_lowlevel_ops>.size,
                    context
                )
            }
        }
    }

    /// The INIT request as the kernel sent it; empty before it came.
    ///
    /// A process that takes the descriptor over feeds it to its own session.
    package var keptInitRequest: [UInt8] { record.keptInitRequest }

    /// The answer to INIT as the kernel got it, with its header; empty before it was sent.
    package var keptInitReply: [UInt8] { record.keptInitReply }

    /// How many requests of a kind have come.
    ///
    /// - Parameter opcode: the kind, as in linux/fuse.h.
    /// - Returns: the number since the session began.
    package func requestCount(opcode: Int) -> UInt64 { record.count(ofOpcode: opcode) }

    /// A descriptor that can be read once the session has ended.
    package var endDescriptor: Int32 { ended.number }

    /// Waits until the session has ended.
    ///
    /// - Throws: `SystemError`.
    package func waitUntilEnded() throws(SystemError) {
        _ = try waitForInput(on: [ended.number])
    }

    func markEnded() {
        ended.raise()
    }

    /// What a try to receive a request gave.
    enum Received {
        case request
        case nothing
        case end
    }

    /// Receives a request, if one is there.
    func receive(_ buffer: inout fuse_buf) -> Received {
        let count = unsafe fuse_session_receive_buf(handle, &buffer)
        switch count {
        case 1...:
            let bytes = unsafe UnsafeRawBufferPointer(start: buffer.mem, count: buffer.size)
            unsafe record.add(request: bytes)
            return .request
        case -EAGAIN, -EINTR, -ENOMEM:
            return .nothing
        default:
            // 0: the kernel said ENODEV. Nothing else is possible once it is mounted.
            return .end
        }
    }

    /// Answers a request that was received, or parks it.
    func process(_ buffer: inout fuse_buf) {
        unsafe fuse_session_process_buf(handle, &buffer)
    }
}
