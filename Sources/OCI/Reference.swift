// SPDX-License-Identifier: Apache-2.0

package import Content

/// Names an image in a registry: `host[:port]/repository[:tag][@digest]`.
///
/// Read as Docker and containerd read it: a first part without a dot, a colon or a capital that
/// is not `localhost` belongs to the repository, which is then one of docker.io's; there a name of
/// one part is in `library/`.
package struct Reference: Sendable, Hashable {
    /// The registry's host and port, as it was named: `docker.io` for Docker Hub.
    package let registry: String
    /// The repository.
    package let repository: String
    /// The tag; nil if none is given.
    package let tag: String?
    /// The digest, which decides where there is a tag as well; nil if none is given.
    package let digest: Digest?

    /// The registry that is meant where none is named.
    package static let defaultRegistry = "docker.io"

    /// The reference in the text.
    ///
    /// - Parameter text: without a transport.
    /// - Throws: `ContentError` that says what is wrong.
    package init(_ text: String) throws(ContentError) {
        var rest = text[...]
        digest = try Self.takeDigest(&rest, of: text)
        // The tag's colon comes after the last slash, a port's before it.
        let lastPart = rest.lastIndex(of: "/").map { rest.index(after: $0) } ?? rest.startIndex
        if let colon = rest[lastPart...].firstIndex(of: ":") {
            let found = String(rest[rest.index(after: colon)...])
            guard ImageName.isTag(found) else {
                throw .unsupported("image name '\(text)': \(ImageName.noTag(found))")
            }
            tag = found
            rest = rest[..<colon]
        } else {
            tag = nil
        }
        var (registry, repository) = (Self.defaultRegistry, String(rest))
        if let slash = rest.firstIndex(of: "/"), Self.isRegistry(rest[..<slash]) {
            registry = String(rest[..<slash])
            repository = String(rest[rest.index(after: slash)...])
        }
        if registry == "index.docker.io" { registry = Self.defaultRegistry }
        if registry == Self.defaultRegistry, !repository.contains("/") {
            repository = "library/\(repository)"
        }
        guard Self.isHost(registry) else {
            throw .unsupported("image name '\(text)': '\(registry)' is no host[:port]")
        }
        guard Self.isRepository(repository) else {
            throw .unsupported(
                "image name '\(text)': '\(repository)' is no repository: words of a-z 0-9, joined"
                    + " with . _ or -, between slashes, at most 255 characters"
            )
        }
        self.registry = registry
        self.repository = repository
    }

    private static func takeDigest(
        _ rest: inout Substring,
        of text: String
    ) throws(ContentError) -> Digest? {
        guard let sign = rest.firstIndex(of: "@") else { return nil }
        let found = String(rest[rest.index(after: sign)...])
        guard let digest = Digest(oci: found) else {
            throw .unsupported(
                "image name '\(text)': '\(found)' is no digest: sha256: and 64 of 0-9 a-f"
            )
        }
        rest = rest[..<sign]
        return digest
    }

    /// Whether the first part of a name is a host.
    private static func isRegistry(_ part: Substring) -> Bool {
        part == "localhost" || part.contains { $0 == "." || $0 == ":" || $0.isUppercase }
    }

    /// Whether the text is `host[:port]`: a name, an IPv4 address or an IPv6 address in brackets.
    private static func isHost(_ text: String) -> Bool {
        var host = text[...]
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return false }
            let address = text[text.index(after: text.startIndex)..<end]
            guard !address.isEmpty, address.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." })
            else { return false }
            host = text[text.index(after: end)...]
            if host.isEmpty { return true }
            guard host.removeFirst() == ":" else { return false }
            return UInt16(host).map { $0 > 0 } ?? false
        }
        if let colon = host.firstIndex(of: ":") {
            guard let port = UInt16(host[host.index(after: colon)...]), port > 0 else {
                return false
            }
            host = host[..<colon]
        }
        let labels = host.split(separator: ".", omittingEmptySubsequences: false)
        return host.utf8.count <= 253
            && labels.allSatisfy { label in
                !label.isEmpty && !label.hasPrefix("-") && !label.hasSuffix("-")
                    && label.utf8.allSatisfy { isLowerCase($0) || isCapital($0) || $0 == 0x2d }
            }
    }

    /// Whether the text is a repository's name (distribution-spec):
    /// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
    package static func isRepository(_ text: String) -> Bool {
        guard text.utf8.count <= 255 else { return false }
        return text.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
            guard let first = part.utf8.first, let last = part.utf8.last, isLowerCase(first),
                isLowerCase(last)
            else { return false }
            // What stands between words.
            let separators = part.split { isLowerCase($0.asciiValue ?? 0) }
            return separators.allSatisfy { separator in
                [".", "_", "__"].contains(separator) || separator.allSatisfy { $0 == "-" }
            }
        }
    }

    private static func isLowerCase(_ byte: UInt8) -> Bool {
        (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte)
    }

    private static func isCapital(_ byte: UInt8) -> Bool { (0x41...0x5a).contains(byte) }

    /// What the registry is asked for: the digest, else the tag, else `latest`.
    package var manifestName: String { digest?.oci ?? tag ?? ImageName.defaultTag }
}

extension Reference: CustomStringConvertible {
    package var description: String {
        "\(registry)/\(repository)\(tag.map { ":\($0)" } ?? "")\(digest.map { "@\($0)" } ?? "")"
    }
}
