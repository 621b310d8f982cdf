// SPDX-License-Identifier: Apache-2.0

internal import Arguments
internal import Configuration

/// Where defaults of options are read.
enum ConfigurationOptions {
    /// The file.
    static let file = Option(
        "config",
        value: OptionValue(
            "FILE",
            .file,
            defaultText: """
                \(Configuration.pathOfRoot); for ordinary users lazypull/config.toml in
                XDG_CONFIG_HOME or ~/.config
                """
        ),
        help: "Take the defaults of options from FILE; see lazypull-config(5)."
    )

    /// The file that the command line names, or the usual one if it exists.
    ///
    /// - Parameter arguments: the command line, with `file` among its options.
    /// - Returns: the configuration; an empty one where there is no file.
    /// - Throws: an error if the file cannot be read or is wrong.
    static func configuration(_ arguments: ParsedArguments) throws -> Configuration {
        if let path = arguments.text(file) { return try Configuration(contentsOf: path) }
        guard let path = Configuration.defaultPath() else { return Configuration() }
        return try Configuration(contentsOf: path, isOptional: true)
    }
}
