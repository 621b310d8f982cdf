// SPDX-License-Identifier: Apache-2.0

/// One way to authorize that a server offers in WWW-Authenticate (RFC 9110, section 11.6.1).
struct AuthChallenge: Equatable, Sendable {
    /// The scheme in lower case: `bearer`, `basic`.
    var scheme: String
    /// The parameters, names in lower case.
    var parameters: [String: String]

    /// The challenges in the values of a header; what cannot be read is left out.
    static func parse(_ values: [String]) -> [AuthChallenge] {
        values.flatMap { value in
            var parser = ChallengeParser(rest: Array(value.utf8.prefix(8192))[...])
            return parser.challenges()
        }
    }
}

private struct ChallengeParser {
    var rest: ArraySlice<UInt8>

    mutating func challenges() -> [AuthChallenge] {
        var found: [AuthChallenge] = []
        while true {
            skip { $0 == 0x20 || $0 == 0x09 || $0 == 0x2c }
            let word = token()
            guard !word.isEmpty else { return found }
            skip { $0 == 0x20 || $0 == 0x09 }
            guard rest.first == UInt8(ascii: "=") else {
                found.append(AuthChallenge(scheme: word, parameters: [:]))
                continue
            }
            rest.removeFirst()
            skip { $0 == 0x20 || $0 == 0x09 }
            let value = rest.first == UInt8(ascii: "\"") ? quoted() : token(isValue: true)
            // A parameter belongs to the scheme before it.
            guard !found.isEmpty else { return found }
            found[found.count - 1].parameters[word] = value
        }
    }

    private mutating func skip(_ isSkipped: (UInt8) -> Bool) {
        rest = rest.drop(while: isSkipped)
    }

    private mutating func token(isValue: Bool = false) -> String {
        let end = rest.firstIndex { byte in
            byte <= 0x20 || byte == 0x2c || byte == 0x22 || (byte == 0x3d && !isValue)
        }
        let word = rest[..<(end ?? rest.endIndex)]
        rest = rest[(end ?? rest.endIndex)...]
        let text = String(decoding: word, as: UTF8.self)
        return isValue ? text : text.lowercased()
    }

    private mutating func quoted() -> String {
        rest.removeFirst()
        var bytes: [UInt8] = []
        while let byte = rest.popFirst(), byte != UInt8(ascii: "\"") {
            if byte == UInt8(ascii: "\\"), let next = rest.popFirst() {
                bytes.append(next)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
