// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// Signals as something to read from a descriptor, one after another (signalfd(2)).
package struct SignalDescriptor: ~Copyable {
    private let descriptor: OwnedDescriptor

    /// Takes the signals away from their default actions.
    ///
    /// They are blocked in the calling thread and in threads that it starts later: to be called
    /// while the process has one thread. A signal that is ignored, as a shell does for SIGINT of
    /// a background job, stays ignored.
    ///
    /// - Parameter signals: the signals' numbers.
    /// - Throws: `SystemError`.
    package init(_ signals: [Int32]) throws(SystemError) {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in signals { unsafe sigaddset(&set, signal) }
        let code = unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        guard code == 0 else { throw SystemError("pthread_sigmask", "", code: code) }
        descriptor = OwnedDescriptor(
            owning: try retryingOnInterrupt("signalfd", "") {
                unsafe signalfd(-1, &set, Int32(SFD_CLOEXEC))
            }
        )
    }

    /// The descriptor: readable while a signal is pending.
    package var number: Int32 { descriptor.number }

    /// Waits for the next signal.
    ///
    /// - Returns: the signal's number.
    /// - Throws: `SystemError`.
    package func next() throws(SystemError) -> Int32 {
        var information = signalfd_siginfo()
        try retryingOnInterrupt("read", "signalfd") {
            unsafe read(
                descriptor.number,
                &information,
                MemoryLayout<signalfd_siginfo>.size
            )
        }
        return Int32(bitPattern: information.ssi_signo)
    }
}

/// Blocks all signals in the calling thread, so that the process's other threads get them.
package func blockSignals() {
    var set = sigset_t()
    unsafe sigfillset(&set)
    _ = unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
}
