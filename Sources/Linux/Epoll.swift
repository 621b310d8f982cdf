// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// A set of descriptors that several threads wait on at once (epoll(7)).
package struct Epoll: ~Copyable, Sendable {
    private let descriptor: OwnedDescriptor

    /// An empty set.
    ///
    /// - Throws: `SystemError` if the process has no descriptor left.
    package init() throws(SystemError) {
        descriptor = OwnedDescriptor(
            owning: try retryingOnInterrupt("epoll_create1", "") {
                epoll_create1(Int32(EPOLL_CLOEXEC))
            }
        )
    }

    /// How often a descriptor that can be read, or has failed, is reported.
    package enum Reporting: Sendable {
        /// To every thread that waits.
        case always
        /// To one thread, and to nobody else before `rearm`.
        case once
    }

    /// Adds a descriptor.
    ///
    /// - Parameters:
    ///   - number: the descriptor; the set forgets it when it is closed.
    ///   - token: what `wait` returns for it.
    ///   - reporting: how often it is reported.
    /// - Throws: `SystemError`.
    package func add(
        _ number: Int32,
        token: UInt64,
        reporting: Reporting
    ) throws(SystemError) {
        try control(EPOLL_CTL_ADD, number, token, Self.events(reporting))
    }

    /// Has a descriptor that was reported once reported again: at once, if it can be read.
    ///
    /// - Parameters:
    ///   - number: the descriptor.
    ///   - token: what `wait` returns for it.
    /// - Throws: `SystemError` if it is not in the set any more.
    package func rearm(_ number: Int32, token: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_MOD, number, token, Self.events(.once))
    }

    /// Has a descriptor not reported before `rearm`, as after a report.
    ///
    /// That its other end is gone is reported all the same.
    ///
    /// - Parameters:
    ///   - number: the descriptor.
    ///   - token: what `wait` returns for it.
    /// - Throws: `SystemError` if it is not in the set any more.
    package func disarm(_ number: Int32, token: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_MOD, number, token, EPOLLONESHOT.rawValue)
    }

    private static func events(_ reporting: Reporting) -> UInt32 {
        EPOLLIN.rawValue | (reporting == .once ? EPOLLONESHOT.rawValue : 0)
    }

    private func control(
        _ operation: Int32,
        _ number: Int32,
        _ token: UInt64,
        _ events: UInt32
    ) throws(SystemError) {
        var event = unsafe epoll_event(events: events, data: epoll_data_t(u64: token))
        try retryingOnInterrupt("epoll_ctl", "descriptor \(number)") {
            unsafe epoll_ctl(descriptor.number, operation, number, &event)
        }
    }

    /// Removes a descriptor; nothing happens if it is not in the set.
    package func remove(_ number: Int32) {
        var event = unsafe epoll_event()
        _ = unsafe epoll_ctl(descriptor.number, EPOLL_CTL_DEL, number, &event)
    }

    /// Waits until a descriptor of the set can be read.
    ///
    /// - Returns: its token.
    /// - Throws: `SystemError`.
    package func wait() throws(SystemError) -> UInt64 {
        var event = unsafe epoll_event()
        while true {
            let count = try retryingOnInterrupt("epoll_wait", "") {
                unsafe epoll_wait(descriptor.number, &event, 1, -1)
            }
            if count > 0 { return unsafe event.data.u64 }
        }
    }
}

/// Something that happened, as a descriptor to wait on (eventfd(2)).
package struct EventFlag: ~Copyable, Sendable {
    private let descriptor: OwnedDescriptor

    /// An event that has not happened.
    ///
    /// - Throws: `SystemError` if the process has no descriptor left.
    package init() throws(SystemError) {
        descriptor = OwnedDescriptor(
            owning: try retryingOnInterrupt("eventfd", "") {
                eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
            }
        )
    }

    /// The descriptor: readable from the moment the event has happened.
    package var number: Int32 { descriptor.number }

    /// Makes the event happen; once more changes nothing.
    package func raise() {
        _ = eventfd_write(descriptor.number, 1)
    }
}

/// Waits until one of the descriptors can be read.
///
/// - Parameters:
///   - descriptors: what to wait on.
///   - milliseconds: how long at most; nil for ever.
/// - Returns: the position of the first descriptor that can be read; nil when the time is over.
/// - Throws: `SystemError`.
package func waitForInput(
    on descriptors: [Int32],
    milliseconds: Int32? = nil
) throws(SystemError) -> Int? {
    var polled = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    try retryingOnInterrupt("poll", "\(descriptors.count) descriptors") {
        unsafe poll(&polled, nfds_t(polled.count), milliseconds ?? -1)
    }
    return polled.firstIndex { $0.revents != 0 }
}
