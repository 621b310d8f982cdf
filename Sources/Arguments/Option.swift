// SPDX-License-Identifier: Apache-2.0
//
// Arguments: an applet's options declared once - parsed with getopt_long, printed as help, written
// as completions.

/// What a value on the command line may be; checked while parsing.
package enum ValueKind: Sendable, Equatable {
    /// Any text.
    case text
    /// A path of a file.
    case file
    /// A path of a directory.
    case directory
    /// The name of an image, `transport:…`; the transports are offered as completions.
    case image(transports: [String])
    /// A decimal number within the range.
    case integer(ClosedRange<Int>)
    /// One of the words.
    case choice([String])
}

/// The value an option takes.
package struct OptionValue: Sendable, Equatable {
    /// How help names it: `N`, `DIR`.
    package var placeholder: String
    /// What it may be.
    package var kind: ValueKind
    /// The value taken when the option is not given, or nil if there is none.
    package var fallback: String?
    /// What happens without the option, in words, where `fallback` does not say it.
    package var defaultText: String?

    /// A value.
    ///
    /// - Parameters:
    ///   - placeholder: how help names it.
    ///   - kind: what it may be.
    ///   - fallback: the value when the option is not given.
    ///   - defaultText: what happens without the option, in words; else `fallback` is printed.
    package init(
        _ placeholder: String,
        _ kind: ValueKind,
        fallback: String? = nil,
        defaultText: String? = nil
    ) {
        self.placeholder = placeholder
        self.kind = kind
        self.fallback = fallback
        self.defaultText = defaultText ?? fallback
    }
}

/// One option of an applet.
package struct Option: Sendable, Equatable {
    /// The long name without its dashes; names the option within its applet.
    package var name: String
    /// The letter of the short form, or nil.
    package var short: Character?
    /// The value it takes; nil for a switch.
    package var value: OptionValue?
    /// What it does: one or more sentences.
    package var help: String
    /// Whether it may be given more than once.
    package var isRepeatable: Bool
    /// Whether help and completions leave it out.
    package var isHidden: Bool

    /// An option.
    ///
    /// - Parameters:
    ///   - name: the long name without dashes.
    ///   - short: the letter of the short form, ASCII.
    ///   - value: the value it takes; nil for a switch.
    ///   - isRepeatable: whether it may be given more than once.
    ///   - isHidden: whether help and completions leave it out.
    ///   - help: what it does.
    package init(
        _ name: String,
        short: Character? = nil,
        value: OptionValue? = nil,
        isRepeatable: Bool = false,
        isHidden: Bool = false,
        help: String
    ) {
        self.name = name
        self.short = short
        self.value = value
        self.isRepeatable = isRepeatable
        self.isHidden = isHidden
        self.help = help
    }

    /// The option every applet has.
    package static let help = Option("help", short: "h", help: "Print this help and exit.")
}

/// One argument that is not an option.
package struct Operand: Sendable, Equatable {
    /// How help and errors name it: `SOURCE`.
    package var placeholder: String
    /// What it may be.
    package var kind: ValueKind
    /// What it is: one or more sentences.
    package var help: String
    /// Whether it may be left out; only the last ones may.
    package var isOptional: Bool

    /// An operand.
    ///
    /// - Parameters:
    ///   - placeholder: how help names it.
    ///   - kind: what it may be.
    ///   - isOptional: whether it may be left out.
    ///   - help: what it is.
    package init(
        _ placeholder: String,
        _ kind: ValueKind = .text,
        isOptional: Bool = false,
        help: String
    ) {
        self.placeholder = placeholder
        self.kind = kind
        self.isOptional = isOptional
        self.help = help
    }
}
