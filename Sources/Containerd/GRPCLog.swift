// SPDX-License-Identifier: Apache-2.0

import CGRPC
import Log
import Synchronization

/// What gRPC itself has to say, as lines of our log instead of its own on standard error.
enum GRPCLog {
    private static let log = Mutex<Logger?>(nil)

    /// Sends it there from now on; there is one log in a process.
    static func redirect(to logger: Logger) {
        log.withLock { $0 = logger }
        gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR)
        unsafe gpr_set_log_function { event in
            guard let event = unsafe event, let text = unsafe event.pointee.message else { return }
            let logger = GRPCLog.log.withLock { $0 }
            logger?.warning("gRPC: \(unsafe String(cString: text))")
        }
    }
}
