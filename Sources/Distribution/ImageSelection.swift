// SPDX-License-Identifier: Apache-2.0

import Content
package import OCI

/// Which image is meant where a name leads to several.
package struct ImageSelection: Sendable {
    /// Of two images of one platform, which.
    package enum Form: Sendable {
        /// The one that is not converted.
        case original
        /// The converted one.
        case converted
    }

    /// The platform; without a variant, any variant fits.
    package var platform: Platform
    /// Which of an image and its conversion.
    package var form: Form

    /// A selection; by default of the original for this machine.
    package init(platform: Platform = .current, form: Form = .original) {
        self.platform = platform
        self.form = form
    }

    /// The image among the manifests of an index.
    ///
    /// - Parameters:
    ///   - manifests: the index's manifests, indexes in it unfolded.
    ///   - place: where they come from, for the error.
    /// - Returns: the one that fits.
    /// - Throws: `ContentError` if there is none, or are several.
    func choose(among manifests: [Descriptor], place: String) throws(ContentError) -> Descriptor {
        let images = manifests.filter { !$0.isAttestation }
        if let only = images.first, images.count == 1, only.platform == nil { return only }
        var fitting = images.filter { $0.platform.map { platform.accepts($0) } ?? false }
        if Set(fitting.map(\.isMarkedAsConverted)).count > 1 {
            fitting.removeAll { $0.isMarkedAsConverted != (form == .converted) }
        }
        guard let only = fitting.first, fitting.count == 1 else {
            let platforms = images.map { $0.platform?.description ?? "none" }.prefix(20)
            throw ContentError(
                fitting.isEmpty ? .notFound : .unsupported,
                "\(place) holds \(fitting.count) images for \(platform), one is needed;"
                    + " platforms: \(platforms.joined(separator: ", "))"
            )
        }
        return only
    }
}

extension Platform {
    /// Whether an image of the other platform is what this one asks for.
    fileprivate func accepts(_ other: Platform) -> Bool {
        guard os == other.os, architecture == other.architecture else { return false }
        return variant.isEmpty || normalizedVariant == other.normalizedVariant
    }

    /// The variant, where one is implied that one (containerd's platforms package).
    private var normalizedVariant: String {
        guard variant.isEmpty else { return variant }
        switch architecture {
        case "arm64": return "v8"
        case "arm": return "v7"
        default: return ""
        }
    }
}

extension Descriptor {
    /// Whether it names what BuildKit says about another image of the index, and no image.
    package var isAttestation: Bool {
        platform == Platform(os: "unknown", architecture: "unknown")
            || annotations["vnd.docker.reference.type"] != nil
    }

    /// Whether an index says of it that it is a converted image, in the new way or the old.
    package var isMarkedAsConverted: Bool {
        if otherFields["artifactType"] == .string(NydusConvention.artifactType) { return true }
        guard case .object(let platform)? = otherFields["platform"],
            case .array(let features)? = platform["os.features"]
        else { return false }
        return features.contains(.string(NydusConvention.osFeature))
    }
}
