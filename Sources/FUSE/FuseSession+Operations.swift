// SPDX-License-Identifier: Apache-2.0

import CFuse
import Glibc

/// libfuse's callbacks: each turns C's arguments into ours and answers.
extension FuseSession {
    /// The table of operations; what is missing libfuse answers with ENOSYS, and the kernel does
    /// not ask again.
    static func operations() -> fuse_lowlevel_ops {
        var table = fuse_lowlevel_ops()
        unsafe table.`init` = { _, connection in
            guard let connection = unsafe connection else { return }
            unsafe FuseSession.negotiate(&connection.pointee)
        }
        unsafe table.lookup = { raw, parent, name in
            unsafe FuseSession.withRequest(raw) { session, request in
                unsafe session.lookup(parent, name, request)
            }
        }
        unsafe table.getattr = { raw, node, _ in
            unsafe FuseSession.withRequest(raw) { session, request in
                session.getAttributes(node, request)
            }
        }
        unsafe table.readlink = { raw, node in
            unsafe FuseSession.withRequest(raw) { session, request in
                session.readSymlink(node, request)
            }
        }
        // The kernel then opens by itself, and keeps pages and directories cached.
        unsafe table.open = { raw, _, _ in unsafe FuseSession.refuse(raw) }
        unsafe table.opendir = { raw, _, _ in unsafe FuseSession.refuse(raw) }
        unsafe table.readdir = { raw, node, size, offset, _ in
            unsafe FuseSession.readDirectory(raw, node, size, offset, hasAttributes: false)
        }
        unsafe table.readdirplus = { raw, node, size, offset, _ in
            unsafe FuseSession.readDirectory(raw, node, size, offset, hasAttributes: true)
        }
        unsafe table.read = { raw, node, size, offset, _ in
            unsafe FuseSession.withRequest(raw) { session, request in
                session.read(node, size, offset, request)
            }
        }
        addRareOperations(&table)
        return table
    }

    private static func addRareOperations(_ table: inout fuse_lowlevel_ops) {
        unsafe table.statfs = { raw, _ in
            unsafe FuseSession.withRequest(raw) { session, request in
                request.reply(statistics: session.filesystem.statistics())
            }
        }
        unsafe table.lseek = { raw, node, offset, whence, _ in
            unsafe FuseSession.withRequest(raw) { session, request in
                session.seek(node, offset, whence, request)
            }
        }
        unsafe table.getxattr = { raw, node, name, size in
            unsafe FuseSession.withRequest(raw) { session, request in
                unsafe session.getXattr(node, name, size, request)
            }
        }
        unsafe table.listxattr = { raw, node, size in
            unsafe FuseSession.withRequest(raw) { session, request in
                session.listXattrs(node, size, request)
            }
        }
    }

    /// libfuse's callback for a request that is interrupted while it is parked.
    ///
    /// It runs with libfuse's lock on that request held; answering takes the session's lock only.
    static let interrupted: fuse_interrupt_func_t = { raw, number in
        guard let raw = unsafe raw else { return }
        let session = unsafe FuseSession.of(raw)
        session?.parked.interrupt(UInt64(UInt(bitPattern: number)))
    }

    private static func of(_ raw: fuse_req_t) -> FuseSession? {
        guard let context = unsafe fuse_req_userdata(raw) else { return nil }
        return unsafe Unmanaged<FuseSession>.fromOpaque(context).takeUnretainedValue()
    }

    private static func withRequest(
        _ raw: fuse_req_t?,
        _ body: (FuseSession, consuming FuseRequest) -> Void
    ) {
        guard let raw = unsafe raw, let session = unsafe of(raw) else { return }
        body(session, unsafe FuseRequest(raw, of: session))
    }

    private static func refuse(_ raw: fuse_req_t?) {
        unsafe withRequest(raw) { _, request in request.reply(.notImplemented) }
    }

    /// The memory of the worker that runs the callback; nil if more is asked for than it has.
    private static func workerMemory(_ byteCount: Int) -> UnsafeMutableRawBufferPointer? {
        guard byteCount <= largestRead else { return nil }
        return unsafe UnsafeMutableRawBufferPointer(start: cfuse_worker_memory(), count: byteCount)
    }

    /// Says what we want of what the kernel offers.
    private static func negotiate(_ connection: inout fuse_conn_info) {
        let wanted =
            FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS
            // Else ACLs are shown and not enforced.
            | FUSE_CAP_POSIX_ACL
            // "." and ".." can be looked up: NFS handles work.
            | FUSE_CAP_EXPORT_SUPPORT
            // Always, not adaptive: `find` asks for attributes sooner or later.
            | FUSE_CAP_READDIRPLUS
            | FUSE_CAP_CACHE_SYMLINKS
            | FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT
        // Not ASYNC_DIO: SIGKILL would leave a reader with O_DIRECT unkillable on a parked read.
        connection.want = connection.capable & UInt32(bitPattern: wanted)
        connection.max_write = UInt32(largestRead)  // the largest request, reads included
        // Else parked reads count up to 12 and stop reads of data that is here.
        connection.max_background = 65535
        connection.congestion_threshold = 65535
    }

    private func lookup(
        _ parent: UInt64,
        _ name: UnsafePointer<CChar>?,
        _ request: consuming FuseRequest
    ) {
        guard let name = unsafe name else { return request.reply(.invalid) }
        let directory = numbers.exchanged(parent)
        let bytes = unsafe UnsafeRawBufferPointer(start: name, count: strlen(name))
        do throws(FuseFailure) {
            // A file handle of NFS asks for ".", of files of every type.
            if unsafe bytes.count == 1 && bytes[0] == UInt8(ascii: ".") {
                let attributes = try filesystem.attributes(of: directory)
                return request.reply(entry: numbers.entry(attributes))
            }
            let span = unsafe RawSpan(_unsafeBytes: bytes)
            guard let attributes = try filesystem.lookup(span, in: directory) else {
                return request.reply(entry: numbers.negativeEntry())
            }
            let entry = numbers.entry(attributes)
            // Node 0 would tell the kernel that there is nothing of that name.
            guard entry.ino != 0 else { return request.reply(.inputOutput) }
            request.reply(entry: entry)
        } catch {
            request.reply(error)
        }
    }

    private func getAttributes(_ node: UInt64, _ request: consuming FuseRequest) {
        do {
            let attributes = try filesystem.attributes(of: numbers.exchanged(node))
            request.reply(status: numbers.status(attributes))
        } catch {
            request.reply(error)
        }
    }

    private func readSymlink(_ node: UInt64, _ request: consuming FuseRequest) {
        guard let memory = unsafe Self.workerMemory(4096) else {
            return request.reply(.inputOutput)
        }
        var reply = unsafe ReplyBuffer(memory)
        do {
            try filesystem.readSymlink(numbers.exchanged(node), into: &reply)
            guard let target = reply.contents else { return request.reply(.inputOutput) }
            request.reply(target)
        } catch {
            request.reply(error)
        }
    }

    private static func readDirectory(
        _ raw: fuse_req_t?,
        _ node: UInt64,
        _ size: Int,
        _ offset: off_t,
        hasAttributes: Bool
    ) {
        unsafe withRequest(raw) { session, request in
            guard let raw = unsafe raw, let position = UInt64(exactly: offset),
                let memory = unsafe workerMemory(min(size, largestRead))
            else { return request.reply(.invalid) }
            var reply = unsafe DirectoryBuffer(
                memory,
                request: raw,
                numbers: session.numbers,
                hasAttributes: hasAttributes
            )
            do throws(FuseFailure) {
                let directory = session.numbers.exchanged(node)
                try session.filesystem.readDirectory(directory, from: position, into: &reply)
                request.reply(reply.contents)
            } catch {
                request.reply(error)
            }
        }
    }

    private func read(
        _ node: UInt64,
        _ size: Int,
        _ offset: off_t,
        _ request: consuming FuseRequest
    ) {
        guard let offset = UInt64(exactly: offset), let memory = unsafe Self.workerMemory(size)
        else { return request.reply(.invalid) }
        unsafe filesystem.read(
            numbers.exchanged(node),
            at: offset,
            into: memory,
            answering: request
        )
    }

    private func seek(
        _ node: UInt64,
        _ offset: off_t,
        _ whence: Int32,
        _ request: consuming FuseRequest
    ) {
        let seekData: Int32 = 3
        let seekHole: Int32 = 4  // SEEK_DATA and SEEK_HOLE of lseek(2), behind _GNU_SOURCE
        guard let offset = UInt64(exactly: offset), whence == seekData || whence == seekHole else {
            return request.reply(.invalid)
        }
        do {
            let found = try filesystem.seek(
                numbers.exchanged(node),
                from: offset,
                seeksHole: whence == seekHole
            )
            request.reply(offset: found)
        } catch {
            request.reply(error)
        }
    }

    private func getXattr(
        _ node: UInt64,
        _ name: UnsafePointer<CChar>?,
        _ size: Int,
        _ request: consuming FuseRequest
    ) {
        guard filesystem.hasXattrs else { return request.reply(.notImplemented) }
        guard let name = unsafe name else { return request.reply(.invalid) }
        let bytes = unsafe UnsafeRawBufferPointer(start: name, count: strlen(name))
        // The overlay's own marks, of an overlay that an image was made from: not for the overlay
        // that is put above this mount.
        if unsafe Self.isOverlayMark(bytes) { return request.reply(.noAttribute) }
        replyXattr(size, request) { (reply) throws(FuseFailure) in
            let span = unsafe RawSpan(_unsafeBytes: bytes)
            try self.filesystem.readXattr(span, of: self.numbers.exchanged(node), into: &reply)
        }
    }

    /// Answered also by an image without any: ENOSYS would tell those who list that extended
    /// attributes are not supported, and nobody lists as often as an overlay gets.
    private func listXattrs(_ node: UInt64, _ size: Int, _ request: consuming FuseRequest) {
        replyXattr(size, request) { (reply) throws(FuseFailure) in
            try self.filesystem.listXattrs(of: self.numbers.exchanged(node), into: &reply)
        }
    }

    /// Answers with the bytes that the body appends, or with their number if that is asked for.
    private func replyXattr(
        _ size: Int,
        _ request: consuming FuseRequest,
        _ body: (inout ReplyBuffer) throws(FuseFailure) -> Void
    ) {
        guard let memory = unsafe Self.workerMemory(min(size, Self.largestRead)) else {
            return request.reply(.inputOutput)
        }
        var reply = unsafe ReplyBuffer(memory)
        do {
            try body(&reply)
        } catch {
            return request.reply(error)
        }
        if size == 0 { return request.reply(xattrSize: reply.count) }
        guard let bytes = reply.contents else { return request.reply(.bufferTooSmall) }
        request.reply(bytes)
    }

    /// Whether an extended attribute is one that overlayfs keeps for itself: `trusted.overlay.*`.
    package static func isOverlayMark(_ name: UnsafeRawBufferPointer) -> Bool {
        let prefix: StaticString = "trusted.overlay."
        guard name.count >= prefix.utf8CodeUnitCount else { return false }
        guard let start = name.baseAddress else { return false }
        return unsafe memcmp(start, prefix.utf8Start, prefix.utf8CodeUnitCount) == 0
    }
}
