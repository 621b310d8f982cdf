// SPDX-License-Identifier: Apache-2.0

import CLinux

/// How names of hosts are looked up.
package enum NameService {
    /// Has hosts looked up in /etc/hosts and the DNS only, whatever nsswitch.conf says.
    ///
    /// A static executable would load the machine's modules otherwise, made for another glibc
    /// perhaps: a broken one kills the process. To be called before the first lookup.
    package static func useFilesAndDNS() {
        _ = unsafe clinux_configure_lookup("hosts", "files dns")
    }
}
