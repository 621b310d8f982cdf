// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import ChunkCache
internal import Mount

/// Options that say how the data of mounted images is fetched.
enum ReadOptions {
    /// All of them, in the order of help.
    static let all = [readAhead, readDeadline]

    private static let readAhead = Option(
        "read-ahead",
        value: OptionValue("BYTES", .integer(0...16_777_216), fallback: "524288"),
        help: """
            Extend the request for a missing chunk to BYTES, by what follows it in the blob, and
            fetch ahead of sequential readers. With 0 only what is read is fetched.
            """
    )
    private static let readDeadline = Option(
        "read-deadline",
        value: OptionValue("SECONDS", .integer(1...86_400), fallback: "300"),
        help: "Fail a read whose data has not arrived after SECONDS."
    )

    /// How a process with a cache in the directory mounts images.
    ///
    /// - Parameters:
    ///   - arguments: the command line.
    ///   - directory: the cache.
    /// - Returns: the options.
    static func mountOptions(
        _ arguments: ParsedArguments,
        cacheDirectory directory: String
    ) -> MountOptions {
        var options = MountOptions(cacheDirectory: directory)
        options.limits.readAhead = ReadAhead(
            requestBytes: UInt64(arguments.integer(readAhead) ?? 0)
        )
        options.limits.deadlineMilliseconds = arguments.integer(readDeadline).map {
            UInt64($0) * 1000
        }
        return options
    }

    /// How long a fetch may take, in seconds: it ends before the reads that wait for it do, so that
    /// they can say why.
    static func fetchSeconds(_ arguments: ParsedArguments) -> Int {
        max(1, (arguments.integer(readDeadline) ?? 300) - 2)
    }
}
