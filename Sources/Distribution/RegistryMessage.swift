// SPDX-License-Identifier: Apache-2.0

import OCI

/// What a registry says in the body of an error.
enum RegistryMessage {
    /// The most characters that are shown.
    private static let limit = 300

    /// The message for people, one line; empty if there is none.
    ///
    /// - Parameter body: `{"errors":[{"code":…,"message":…}]}` (distribution-spec, "Error Codes"),
    ///   a token server's `{"details":…}`, or anything.
    /// - Returns: the message.
    static func text(of body: [UInt8]) -> String {
        guard let document = try? JSONValue(parsing: body, document: "error") else { return "" }
        var parts = (document["errors"]?.items ?? []).prefix(3).map { error in
            [error["code"]?.text, error["message"]?.text].compactMap { $0 }.joined(separator: ": ")
        }
        if parts.isEmpty {
            parts = [document["error"], document["details"], document["message"]]
                .compactMap { $0?.text }
        }
        return printable(parts.joined(separator: "; "))
    }

    private static func printable(_ text: String) -> String {
        let line = text.unicodeScalars.map { scalar in
            scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) ? " " : scalar
        }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: line.prefix(limit))
        return String(view)
    }
}
