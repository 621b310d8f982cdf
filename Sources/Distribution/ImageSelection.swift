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

    /// The platform asked for; without a variant, any variant fits.
    ///
    /// nil where none is asked for: then this machine's is taken of an index, and an image that is
    /// the only one in any case.
    package var platform: Platform?
    /// Which of an image and its conversion.
    package var form: Form

    /// A selection; by default of the original, for this machine where there is a choice.
    package init(platform: Platform? = nil, form: Form = .original) {
        self.platform = platform
        self.form = form
    }

    /// The image among the manifests of an index.
    ///
    /// - Parameters:
    ///   - manifests: the index's manifests, indexes in it unfolded.
    ///   - place: where they come from, for the error.
    ///   - isConverted: reads a manifest and tells whether it is a converted image's; called where
    ///     the index does not say it of any: `skopeo copy --all` of before 2023 drops the mark.
    /// - Returns: the one that fits.
    /// - Throws: `ContentError` if there is none, or are several; what `isConverted` throws.
    func choose(
        among manifests: [Descriptor],
        place: String,
        isConverted: (Descriptor) throws(ContentError) -> Bool
    ) throws(ContentError) -> Descriptor {
        let images = manifests.filter { !$0.isAttestation }
        if let only = images.first, images.count == 1, only.platform == nil { return only }
        let platform = platform ?? .current
        var fitting = images.filter { $0.platform.map { platform.accepts($0) } ?? false }
        var forms = fitting.map(\.isMarkedAsConverted)
        if fitting.count > 1, !forms.contains(true) {
            for index in forms.indices { forms[index] = try isConverted(fitting[index]) }
        }
        if Set(forms).count > 1 {
            fitting = zip(fitting, forms).filter { $0.1 == (form == .converted) }.map(\.0)
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

    /// Refuses an image that is not for the platform asked for.
    ///
    /// Only for an image of which no index says the platform: there the index decides, as in
    /// containerd, and configurations are wrong now and then. What one leaves out may be anything.
    ///
    /// - Parameters:
    ///   - found: the platform in the image's configuration.
    ///   - place: the image's name, for the error.
    /// - Throws: `ContentError` naming both platforms.
    func check(_ found: Platform, place: String) throws(ContentError) {
        guard var wanted = platform else { return }
        if found.os.isEmpty { wanted.os = "" }
        if found.architecture.isEmpty { wanted.architecture = "" }
        if found.variant.isEmpty { wanted.variant = "" }
        guard !wanted.accepts(found) else { return }
        throw ContentError(
            .notFound,
            "\(place): an image for \(found), expected \(platform ?? .current): it is the only one there"
        )
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
