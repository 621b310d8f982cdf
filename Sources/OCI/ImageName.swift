// SPDX-License-Identifier: Apache-2.0

package import Content

/// Where an image is, as the command line names it: a transport, then the place.
package enum ImageName: Sendable, Equatable {
    /// An OCI layout directory, and a tag in it; nil where none is given.
    case layout(directory: String, tag: String?)

    /// The tag that is written where none is given.
    package static let defaultTag = "latest"

    private static let supported = "supported: oci:DIR[:TAG]"

    /// The name in the text: `oci:DIR[:TAG]`.
    ///
    /// The tag follows the last colon after the last slash, so that DIR may hold colons before a
    /// slash.
    ///
    /// - Parameter text: the name.
    /// - Throws: `ContentError` that says what is supported.
    package init(_ text: String) throws(ContentError) {
        guard let colon = text.firstIndex(of: ":"), !text[..<colon].contains("/") else {
            throw .unsupported("image name '\(text)' has no transport; \(Self.supported)")
        }
        let transport = text[..<colon]
        guard transport == "oci" else {
            throw .unsupported("transport '\(transport)' is not supported; \(Self.supported)")
        }
        let place = text[text.index(after: colon)...]
        let lastPart = place.lastIndex(of: "/").map { place.index(after: $0) } ?? place.startIndex
        let tagColon = place[lastPart...].lastIndex(of: ":")
        let directory = String(place[..<(tagColon ?? place.endIndex)])
        let tag = tagColon.map { String(place[place.index(after: $0)...]) }
        guard !directory.isEmpty else {
            throw .unsupported("image name '\(text)' names no directory; \(Self.supported)")
        }
        // The kernel's paths end at a NUL.
        guard !directory.utf8.contains(0) else {
            throw .unsupported("the directory of an image name holds a NUL byte")
        }
        if let tag, !Self.isTag(tag) {
            throw .unsupported(
                "'\(tag)' is no tag: 1 to 128 of A-Z a-z 0-9 _ . -, not beginning with . or -"
            )
        }
        self = .layout(directory: directory, tag: tag)
    }

    /// Whether the text is a tag (distribution-spec): `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    package static func isTag(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard (1...128).contains(bytes.count), bytes[0] != 0x2e, bytes[0] != 0x2d else {
            return false
        }
        return bytes.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x5f, 0x2e, 0x2d: true
            default: false
            }
        }
    }
}

extension ImageName: CustomStringConvertible {
    package var description: String {
        switch self {
        case .layout(let directory, let tag): "oci:\(directory)\(tag.map { ":\($0)" } ?? "")"
        }
    }
}

extension ImageName {
    /// The tag the name gives, if it gives one.
    package var tag: String? {
        switch self {
        case .layout(_, let tag): tag
        }
    }
}
