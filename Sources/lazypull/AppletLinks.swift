// SPDX-License-Identifier: Apache-2.0

internal import Arguments
// The errno names.
internal import Glibc
internal import Linux

/// `lazypull --install`: the links by which the applets are called.
enum AppletLinks {
    private static let usage = "usage: \(Program.name) --install [-s] DIR"

    /// Makes the links; those that are there already are made anew.
    ///
    /// - Parameter arguments: `[-s] DIR`.
    /// - Throws: `UsageError`; `Failure` or `SystemError` where a link cannot be made.
    static func install(_ arguments: [String]) throws {
        let isSymbolic = arguments.first == "-s"
        let rest = isSymbolic ? arguments.dropFirst() : arguments[...]
        guard let directory = rest.first, rest.count == 1, !directory.isEmpty else {
            throw UsageError("--install needs one directory; \(usage)")
        }
        if directory.hasPrefix("-") {
            throw UsageError("unknown option '\(directory)'; \(usage)")
        }
        guard try FileStatus(path: directory).isDirectory else {
            throw Failure(.notFound, "\(directory) is no directory")
        }
        let executable = try CurrentProcess.executablePath()
        for applet in Program.applets {
            let link = "\(directory)/\(Program.name)-\(applet.name)"
            try install(link, to: executable, isSymbolic: isSymbolic)
        }
    }

    /// Makes one link under a name nobody looks for, then renames it: at no moment is it missing.
    private static func install(
        _ link: String,
        to executable: String,
        isSymbolic: Bool
    ) throws {
        let temporary = "\(link).new"
        try FileSystem.removeFile(temporary)
        do {
            try makeLink(temporary, to: executable, isSymbolic: isSymbolic)
        } catch {
            guard error.isOtherFileSystem else { throw error }
            throw Failure(
                .unsupported,
                "\(link) lies on another file system than \(executable):"
                    + " a hard link cannot, a symbolic one can (--install -s)"
            )
        }
        try FileSystem.rename(temporary, to: link)
        // rename(2) of two links of one file does nothing: then the temporary name is still there.
        try FileSystem.removeFile(temporary)
    }

    private static func makeLink(
        _ link: String,
        to executable: String,
        isSymbolic: Bool
    ) throws(SystemError) {
        if isSymbolic {
            try FileSystem.makeSymbolicLink(to: executable, named: link)
        } else {
            try FileSystem.makeHardLink(to: executable, named: link)
        }
    }
}
