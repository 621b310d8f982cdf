// SPDX-License-Identifier: Apache-2.0

internal import Arguments

/// The program as mount(8) calls it for `mount -t lazypull` and for fstab:
/// `mount.lazypull IMAGE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`.
enum MountHelper {
    /// The name that mount(8) looks for in /sbin.
    static let name = "mount.lazypull"

    /// Options of `lazypull mount` that may stand behind -o, with their values.
    private static let valued = [
        "cache-dir", "config", "credential-provider-bin-dir", "credential-provider-config",
        "hosts-dir", "layers", "log-file", "log-format", "log-level", "max-depth", "max-entries",
        "platform", "read-ahead", "read-deadline",
    ]
    /// What mount(8) hands on and does not concern a file system that is only read, whose times
    /// never change.
    private static let ignored: Set<String> = [
        "ro", "rw", "defaults", "suid", "dev", "exec", "auto", "noauto", "user", "nouser", "users",
        "owner", "group", "_netdev", "nofail", "atime", "noatime", "diratime", "nodiratime",
        "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "sync",
        "async", "dirsync", "silent", "loud", "allow_other", "default_permissions",
    ]

    /// The words of `lazypull mount` that mean the same.
    ///
    /// - Parameter arguments: what mount(8) called with.
    /// - Returns: the words; nil if nothing is to be done (-f).
    /// - Throws: `UsageError`.
    static func translated(_ arguments: [String]) throws(UsageError) -> [String]? {
        var operands: [String] = []
        var result: [String] = []
        var isSloppy = false
        var isFake = false
        var lists: [String] = []
        var rest = arguments[...]
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word.count > 1 else {
                operands.append(word)
                continue
            }
            for letter in word.dropFirst() {
                switch letter {
                case "s": isSloppy = true
                case "f": isFake = true
                case "n", "v", "r", "w": continue
                case "o", "t", "N":
                    guard let value = rest.popFirst() else {
                        throw UsageError("option '-\(letter)' needs a value")
                    }
                    if letter == "o" { lists.append(value) }
                default:
                    throw UsageError("unknown option '\(word)'")
                }
            }
        }
        for list in lists {
            for option in list.split(separator: ",") {
                result += try translated(String(option), isSloppy: isSloppy)
            }
        }
        guard operands.count == 2 else {
            throw UsageError(
                "needs an image and a directory; usage: \(name) IMAGE DIR [-o OPTIONS]"
            )
        }
        return isFake ? nil : result + ["--"] + operands
    }

    private static func translated(
        _ option: String,
        isSloppy: Bool
    ) throws(UsageError) -> [String] {
        let parts = option.split(separator: "=", maxSplits: 1).map(String.init)
        let name = parts.first ?? ""
        if parts.count == 2, valued.contains(name) { return ["--\(name)=\(parts[1])"] }
        if option == "plain-http" { return ["--plain-http"] }
        if ["nosuid", "nodev", "noexec"].contains(option) { return ["--restrict=\(option)"] }
        if ignored.contains(name) || name.hasPrefix("x-") || name.hasPrefix("X-")
            || name == "comment" || isSloppy
        {
            return []
        }
        let hint = NearestName.find(name, in: valued).map { "; did you mean '\($0)'?" } ?? ""
        throw UsageError("unknown mount option '\(option)'\(hint)")
    }
}
