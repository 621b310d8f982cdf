// SPDX-License-Identifier: Apache-2.0

/// What an applet's command line looks like: the one declaration that parsing, help and completions
/// are made from.
package struct Syntax: Sendable {
    /// The applet's name: `convert`.
    package var name: String
    /// What it does, in one line without a stop, as the list of applets shows it.
    package var summary: String
    /// The options, in the order of help; `--help` is added.
    package var options: [Option]
    /// The operands, in their order.
    package var operands: [Operand]

    /// An applet's syntax.
    ///
    /// - Parameters:
    ///   - name: the applet's name.
    ///   - summary: what it does, in one line without a stop.
    ///   - options: the options without `--help`.
    ///   - operands: the operands; optional ones come last.
    package init(name: String, summary: String, options: [Option], operands: [Operand]) {
        self.name = name
        self.summary = summary
        self.options = options + [.help]
        self.operands = operands
    }

    /// What a command line asks for.
    package enum Request: Sendable, Equatable {
        /// The help text.
        case help
        /// The applet's work.
        case run(ParsedArguments)
    }

    /// Reads a command line.
    ///
    /// Options may follow operands, `--` ends them; a long name may be cut where it stays
    /// unambiguous, as everywhere in glibc's getopt_long(3).
    ///
    /// - Parameter arguments: what follows the applet's name.
    /// - Returns: the request; help wins over everything that follows it.
    /// - Throws: `UsageError` saying what is wrong.
    package func parse(_ arguments: [String]) throws(UsageError) -> Request {
        var values: [String: [String]] = [:]
        let scan = OptionScanner.scan(arguments, options)
        for event in scan.events {
            guard case .option(let option, let value) = event else {
                throw usageError(event)
            }
            if option == .help { return .help }
            if let value, let kind = option.value?.kind {
                try Self.check(value, kind, "option '--\(option.name)'")
            }
            if values[option.name] != nil, !option.isRepeatable, option.value != nil {
                throw UsageError("option '--\(option.name)' is given twice; give it once")
            }
            values[option.name, default: []].append(value ?? "")
        }
        try check(operands: scan.operands)
        return .run(ParsedArguments(operands: scan.operands, values: values))
    }

    private func usageError(_ event: OptionScanner.Event) -> UsageError {
        switch event {
        case .option(let option, _):
            return UsageError("option '--\(option.name)' is not allowed here")
        case .unknown(let text):
            let written = String(text.prefix { $0 != "=" })
            let names = options.filter { !$0.isHidden }.map { "--\($0.name)" }
            let matches = names.filter { $0.hasPrefix(written) }
            if written.hasPrefix("--"), matches.count > 1 {
                let list = matches.joined(separator: ", ")
                return UsageError("option '\(written)' is ambiguous: it could be \(list)")
            }
            guard let nearest = NearestName.find(written, in: names) else {
                return UsageError("unknown option '\(written)'")
            }
            return UsageError("unknown option '\(written)'; did you mean '\(nearest)'?")
        case .missingValue(let option):
            let placeholder = option.value?.placeholder ?? ""
            return UsageError(
                "option '--\(option.name)' needs a value: --\(option.name) \(placeholder)"
            )
        case .unwantedValue(let option):
            return UsageError("option '--\(option.name)' takes no value")
        }
    }

    private func check(operands given: [String]) throws(UsageError) {
        if given.count > operands.count {
            throw UsageError("unexpected argument '\(given[operands.count])'")
        }
        for (index, operand) in operands.enumerated() {
            guard index < given.count else {
                guard operand.isOptional else {
                    throw UsageError("\(operand.placeholder) is missing")
                }
                return
            }
            try Self.check(given[index], operand.kind, operand.placeholder)
        }
    }

    /// Checks a value against what it may be.
    private static func check(
        _ value: String,
        _ kind: ValueKind,
        _ subject: String
    ) throws(UsageError) {
        switch kind {
        case .text, .image:
            break
        case .file, .directory:
            guard !value.isEmpty else { throw UsageError("\(subject) needs a path, not ''") }
        case .integer(let range):
            guard let number = Int(value), range.contains(number) else {
                throw UsageError(
                    "\(subject) needs a number from \(range.lowerBound) to \(range.upperBound),"
                        + " not '\(value)'"
                )
            }
        case .choice(let words):
            guard !words.contains(value) else { return }
            let hint = NearestName.find(value, in: words).map { "; did you mean '\($0)'?" } ?? ""
            let list = words.joined(separator: ", ")
            throw UsageError("\(subject) must be one of \(list), not '\(value)'\(hint)")
        }
    }

    /// `convert [OPTION]... SOURCE TARGET`.
    var operandUsage: String {
        let names = operands.map { $0.isOptional ? "[\($0.placeholder)]" : $0.placeholder }
        return ([name, "[OPTION]..."] + names).joined(separator: " ")
    }
}
