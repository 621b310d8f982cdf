// SPDX-License-Identifier: Apache-2.0
//
// lazypull: parses arguments, wires, prints errors, exits.

import Arguments
import Linux

@main
struct Main {
    static func main() {
        // A reader that goes away (`lazypull check --dump … | head`) is an error of the write.
        CurrentProcess.ignorePipeSignal()
        let words = CommandLine.arguments
        let code = Program.run(called: words.first ?? Program.name, Array(words.dropFirst()))
        CurrentProcess.exit(code.rawValue)
    }
}
