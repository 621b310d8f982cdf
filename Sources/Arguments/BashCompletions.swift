// SPDX-License-Identifier: Apache-2.0

/// Completions for bash, for a multi-call program and the links to it.
package enum BashCompletions {
    /// The script: sourced by bash, it completes `program applet …` and `program-applet …`.
    ///
    /// It needs nothing beyond bash itself, so that it also works where the bash-completion
    /// package is missing.
    ///
    /// - Parameters:
    ///   - program: the program's name; letters only, since it becomes part of a function's name.
    ///   - words: what may stand in an applet's place beside applets: `--version`.
    ///   - syntaxes: the applets.
    /// - Returns: the script's text.
    package static func script(program: String, words: [String], syntaxes: [Syntax]) -> String {
        let names = syntaxes.map(\.name)
        var text = """
            # bash completion for \(program); made by \(program) --completions bash
            _\(program)() {
                local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
                local applet=${COMP_WORDS[0]##*/} first=1
                case $applet in
                    \(program)-*) applet=${applet#\(program)-} ;;
                    *) applet=${COMP_WORDS[1]} first=2 ;;
                esac
                COMPREPLY=()
                if (( COMP_CWORD < first )); then
                    COMPREPLY=($(compgen -W '\((names + words).joined(separator: " "))' -- "$word"))
                    return
                fi
                # bash takes oci:DIR for three words: what follows the colon is a path.
                [[ $word == : ]] && word=
                case $applet in

            """
        for syntax in syntaxes { text += applet(syntax) }
        text += """
                    help) COMPREPLY=($(compgen -W '\(names.joined(separator: " "))' -- "$word")) ;;
                esac
            }

            """
        let links = names.map { "\(program)-\($0)" }
        text += "complete -F _\(program) \(([program] + links).joined(separator: " "))\n"
        return text
    }

    /// The branch of one applet.
    private static func applet(_ syntax: Syntax) -> String {
        let options = syntax.options.filter { !$0.isHidden }
        let words = options.map { "--\($0.name)" }.joined(separator: " ")
        var cases = ""
        for option in options {
            guard let value = option.value else { continue }
            let short = option.short.map { "|-\($0)" } ?? ""
            cases += "                --\(option.name)\(short)) \(reply(value.kind)); return ;;\n"
        }
        var text = "        \(syntax.name))\n"
        if !cases.isEmpty {
            text += "            case $before in\n\(cases)            esac\n"
        }
        text += "            if [[ $word == -* ]]; then\n"
        text += "                COMPREPLY=($(compgen -W '\(words)' -- \"$word\"))\n"
        for reply in operandReplies(syntax) {
            text += "            \(reply)\n"
        }
        return text + "            fi ;;\n"
    }

    /// Completes operands without counting them: options and their values stand among them.
    private static func operandReplies(_ syntax: Syntax) -> [String] {
        var transports: [String] = []
        var takesPath = false
        for operand in syntax.operands {
            if case .image(let names) = operand.kind {
                for name in names where !transports.contains(name) { transports.append(name) }
            } else if operand.kind == .directory || operand.kind == .file {
                takesPath = true
            }
        }
        var lines: [String] = []
        if !transports.isEmpty {
            let words = transports.map { "\($0):" }.joined(separator: " ")
            lines = [
                "elif [[ $before == : || ${COMP_WORDS[COMP_CWORD]} == : ]]; then",
                "    \(reply(.directory))",
                "else",
                "    COMPREPLY=($(compgen -W '\(words)' -- \"$word\"))",
                "    compopt -o nospace 2>/dev/null",
            ]
            if takesPath { lines.append("    COMPREPLY+=($(compgen -d -- \"$word\"))") }
        } else if takesPath {
            lines = ["else", "    \(reply(.file))"]
        }
        return lines
    }

    /// The command that offers values of the kind.
    private static func reply(_ kind: ValueKind) -> String {
        switch kind {
        case .file:
            "COMPREPLY=($(compgen -f -- \"$word\")); compopt -o filenames 2>/dev/null"
        case .directory:
            "COMPREPLY=($(compgen -d -- \"$word\")); compopt -o filenames 2>/dev/null"
        case .choice(let words):
            "COMPREPLY=($(compgen -W '\(words.joined(separator: " "))' -- \"$word\"))"
        case .image(let transports):
            "COMPREPLY=($(compgen -W '\(transports.map { "\($0):" }.joined(separator: " "))'"
                + " -- \"$word\")); compopt -o nospace 2>/dev/null"
        case .integer, .text:
            "COMPREPLY=()"
        }
    }
}
