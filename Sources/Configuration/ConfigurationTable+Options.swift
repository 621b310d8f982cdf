// SPDX-License-Identifier: Apache-2.0

package import Arguments
package import Content

extension ConfigurationTable {
    /// Reads a table whose keys are the long names of options, with values as the options take
    /// them: numbers as numbers, switches as `true` or `false`, all else as text.
    ///
    /// Files and directories must be absolute paths.
    ///
    /// - Parameter options: the options.
    /// - Returns: the values by option, as `ParsedArguments.filled` takes them.
    /// - Throws: `ContentError` with the line of a key that is no such option, or a value that the
    ///   option does not take.
    package consuming func values(
        of options: [Option]
    ) throws(ContentError) -> [String: [String]] {
        var result: [String: [String]] = [:]
        for option in options { result[option.name] = try values(of: option) }
        try finish()
        return result
    }

    private mutating func values(of option: Option) throws(ContentError) -> [String]? {
        let key = option.name
        let value: String?
        switch option.value?.kind {
        case nil: return try boolean(key) == true ? [""] : nil
        case .integer(let range): value = try integer(key, in: range).map { String($0) }
        case .choice(let words):
            if option.isRepeatable { return try choices(key, of: words) }
            value = try choice(key, of: words)
        case .file, .directory: value = try path(key)
        case .text, .image:
            if option.isRepeatable { return try texts(key) }
            value = try text(key)
        }
        return value.map { [$0] }
    }
}
