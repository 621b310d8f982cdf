// SPDX-License-Identifier: Apache-2.0

import Testing

@Suite("Completions in bash")
struct CompletionTests {
    /// What bash would offer for the last of the words.
    private func offers(_ words: [String]) throws -> [Substring] {
        let line = words.map { "'\($0)'" }.joined(separator: " ")
        let script = """
            source <(\(try Repository.program()) --completions bash); COMP_WORDS=(\(line)); \
            COMP_CWORD=\(words.count - 1); _lazypull; printf "%s\\n" "${COMPREPLY[@]}"
            """
        let quoted = script.split(separator: "'", omittingEmptySubsequences: false)
            .joined(separator: "'\\''")
        let (text, code) = try Repository.shell("bash -c '\(quoted)'")
        try #require(code == 0)
        return text.split(separator: "\n")
    }

    @Test(arguments: [
        (["lazypull", "con"], ["convert"]),
        (["lazypull", "--v"], ["--version"]),
        (["lazypull", "help", "ch"], ["check"]),
        (["lazypull", "convert", "--th"], ["--threads"]),
        (["lazypull", "convert", "--output", "j"], ["json"]),
        (
            ["lazypull", "convert", ""], ["docker:", "oci:", "oci-archive:", "docker-archive:"]
        ),
        (["lazypull", "mount", "--log-level", "w"], ["warning"]),
        (["/usr/bin/lazypull-check", "--ag"], ["--against"]),
        (["lazypull", "check", "oci", ":", "Sour"], ["Sources"]),
        (["lazypull", "check", "--threads", ""], []),
        (["lazypull", "nonsense", ""], []),
    ])
    func offersWhatFits(words: [String], expected: [String]) throws {
        #expect(try offers(words).map(String.init) == expected)
    }
}
