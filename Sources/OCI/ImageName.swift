// SPDX-License-Identifier: Apache-2.0

package import Content

/// Where an image is, as the command line names it: a transport, then the place.
package enum ImageName: Sendable, Equatable {
    /// An OCI layout directory, and a tag in it; nil where none is given.
    case layout(directory: String, tag: String?)
    /// A tar archive of an OCI layout, and a tag in it.
    case archive(file: String, tag: String?)
    /// An archive as `docker save` writes it, and the `repository:tag` of an image in it, or the
    /// end of that.
    case dockerArchive(file: String, tag: String?)
    /// An image in a registry.
    case registry(Reference)

    /// The tag that is written where none is given.
    package static let defaultTag = "latest"

    private static let supported =
        "supported: docker://HOST/REPOSITORY[:TAG], oci:DIR[:TAG], oci-archive:FILE[:TAG],"
        + " docker-archive:FILE[:TAG]"

    /// The transports, as the command line names them.
    package static let transports = ["docker", "oci", "oci-archive", "docker-archive"]

    /// Transports of other programs, which would be read as repositories otherwise.
    private static let foreignTransports = [
        "atomic", "containerd", "containers-storage", "dir", "docker-daemon", "ostree", "sif",
        "tarball",
    ]

    /// The name in the text: `docker://host/repository:tag`, also without `docker://`,
    /// `oci:DIR[:TAG]` and the like.
    ///
    /// The tag follows the last colon after the last slash, so that a path may hold colons before
    /// a slash; but in `docker-archive:` it follows the first colon, as for skopeo, since it may
    /// hold both.
    ///
    /// - Parameter text: the name.
    /// - Throws: `ContentError` that says what is supported.
    package init(_ text: String) throws(ContentError) {
        let words = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let transport = words.count > 1 ? String(words[0]) : ""
        if transport == "docker" || !Self.transports.contains(transport) {
            self = .registry(try Self.reference(text, transport))
            return
        }
        let isDocker = transport == "docker-archive"
        let place = words[1]
        let lastPart = place.lastIndex(of: "/").map { place.index(after: $0) } ?? place.startIndex
        let tagColon =
            isDocker ? place.firstIndex(of: ":") : place[lastPart...].lastIndex(of: ":")
        let path = String(place[..<(tagColon ?? place.endIndex)])
        let tag = tagColon.map { String(place[place.index(after: $0)...]) }
        guard !path.isEmpty else {
            let kind = transport == "oci" ? "directory" : "file"
            throw .unsupported("image name '\(text)' names no \(kind); \(Self.supported)")
        }
        // The kernel's paths end at a NUL.
        guard !path.utf8.contains(0) else {
            throw .unsupported("the path of an image name holds a NUL byte")
        }
        if let tag, isDocker ? tag.isEmpty : !Self.isTag(tag) {
            throw .unsupported(Self.noTag(tag))
        }
        switch transport {
        case "oci": self = .layout(directory: path, tag: tag)
        case "oci-archive": self = .archive(file: path, tag: tag)
        default: self = .dockerArchive(file: path, tag: tag)
        }
    }

    private static func reference(
        _ text: String,
        _ transport: String
    ) throws(ContentError) -> Reference {
        if transport == "docker" {
            guard text.hasPrefix("docker://") else {
                throw .unsupported("image name '\(text)': it is docker://, with two slashes")
            }
            return try Reference(String(text.dropFirst(9)))
        }
        guard !foreignTransports.contains(transport), !text.contains("://") else {
            throw .unsupported("transport '\(transport)' is not supported; \(supported)")
        }
        guard !text.hasPrefix("."), !text.hasPrefix("/"), !text.isEmpty else {
            throw .unsupported("image name '\(text)' has no transport; \(supported)")
        }
        return try Reference(text)
    }

    static func noTag(_ text: String) -> String {
        "'\(text)' is no tag: 1 to 128 of A-Z a-z 0-9 _ . -, not beginning with . or -"
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
        let (transport, path) =
            switch self {
            case .layout(let directory, _): ("oci", directory)
            case .archive(let file, _): ("oci-archive", file)
            case .dockerArchive(let file, _): ("docker-archive", file)
            case .registry(let reference): ("docker", "//\(reference)")
            }
        if case .registry = self { return "\(transport):\(path)" }
        return "\(transport):\(path)\(tag.map { ":\($0)" } ?? "")"
    }
}

extension ImageName {
    /// The tag the name gives, if it gives one.
    package var tag: String? {
        switch self {
        case .layout(_, let tag), .archive(_, let tag), .dockerArchive(_, let tag): tag
        case .registry(let reference): reference.tag
        }
    }
}
