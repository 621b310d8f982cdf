// SPDX-License-Identifier: Apache-2.0

/// The options and operands of one command line, each already checked against its declaration.
package struct ParsedArguments: Sendable, Equatable {
    /// The operands, in the order given.
    package var operands: [String]
    /// The values given per long option name, in the order given; switches give empty texts.
    var values: [String: [String]]

    /// The same with values for options that were not given.
    ///
    /// - Parameter defaults: the values by the options' long names, checked as if they had been
    ///   given.
    /// - Returns: what was given, and the defaults of what was not.
    package func filled(with defaults: [String: [String]]) -> ParsedArguments {
        ParsedArguments(operands: operands, values: values.merging(defaults) { given, _ in given })
    }

    /// Whether the option was given.
    package func has(_ option: Option) -> Bool {
        values[option.name] != nil
    }

    /// The option's value, or its fallback if it was not given.
    ///
    /// Of an option given twice that is not repeatable nothing gets here: that is a usage error.
    package func text(_ option: Option) -> String? {
        values[option.name]?.last ?? option.value?.fallback
    }

    /// The value of an option of kind `integer`, or its fallback if it was not given.
    package func integer(_ option: Option) -> Int? {
        text(option).flatMap { Int($0) }
    }

    /// Every value of a repeatable option, in the order given.
    package func texts(_ option: Option) -> [String] {
        values[option.name] ?? []
    }
}
