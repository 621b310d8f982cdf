// SPDX-License-Identifier: Apache-2.0

import Content
import OCI

/// A program that gives the kubelet credentials for images, as its configuration names it
/// (kubernetes.io, "Configure a kubelet image credential provider").
struct CredentialProvider: Sendable, Equatable {
    /// The program's name, in the directory for such programs.
    let name: String
    /// For which images it is asked.
    let patterns: [ImagePattern]
    /// How long its answer holds if that does not say, in seconds.
    let defaultCacheSeconds: UInt64
    /// The version of the protocol.
    let apiVersion: String
    let arguments: [String]
    let variables: [Variable]

    struct Variable: Sendable, Equatable {
        var name: String
        var value: String
    }

    /// Whether it is asked for credentials for the image of that registry and repository.
    func isAsked(for image: String) -> Bool { patterns.contains { $0.matches(image) } }

    private static let group = "credentialprovider.kubelet.k8s.io/"
    private static let configurationGroup = "kubelet.config.k8s.io/"
    private static let versions = ["v1", "v1beta1", "v1alpha1"]

    /// The providers of a CredentialProviderConfig.
    ///
    /// - Parameters:
    ///   - document: the configuration.
    ///   - path: its file's path, for errors.
    /// - Returns: the providers, in its order.
    /// - Throws: `ContentError` naming the file and what is wrong.
    static func providers(
        in document: JSONValue,
        _ path: String
    ) throws(ContentError) -> [CredentialProvider] {
        let version = document["apiVersion"]?.text ?? ""
        guard document["kind"]?.text == "CredentialProviderConfig",
            versions.contains(where: { version == configurationGroup + $0 })
        else { throw .unsupported("\(path): no CredentialProviderConfig that is understood") }
        var result: [CredentialProvider] = []
        for entry in document["providers"]?.items ?? [] {
            result.append(try CredentialProvider(entry, path))
        }
        return result
    }

    private init(_ entry: JSONValue, _ path: String) throws(ContentError) {
        let name = entry["name"]?.text ?? ""
        func wrong(_ message: String) -> ContentError {
            .corrupt("\(path): credential provider '\(name)': \(message)")
        }
        guard !name.isEmpty, name != ".", name != "..",
            !name.utf8.contains(where: { $0 == 0x2f || $0 <= 0x20 })
        else { throw wrong("its name is none of a program in a directory") }
        let version = entry["apiVersion"]?.text ?? ""
        guard Self.versions.contains(where: { version == Self.group + $0 }) else {
            throw wrong("apiVersion '\(version)' is not supported")
        }
        // It would need a service account's token, which the kubelet alone can make.
        if let attributes = entry["tokenAttributes"], attributes != .null {
            throw .unsupported("\(path): credential provider '\(name)': tokenAttributes")
        }
        var patterns: [ImagePattern] = []
        for item in entry["matchImages"]?.items ?? [] {
            guard let pattern = item.text.flatMap({ ImagePattern($0) }) else {
                throw wrong("matchImages holds something else than images")
            }
            patterns.append(pattern)
        }
        guard !patterns.isEmpty else { throw wrong("matchImages is missing") }
        guard let seconds = entry["defaultCacheDuration"]?.text.flatMap(GoDuration.seconds) else {
            throw wrong("defaultCacheDuration is no duration")
        }
        self.name = name
        self.patterns = patterns
        defaultCacheSeconds = seconds
        apiVersion = version
        arguments = (entry["args"]?.items ?? []).compactMap(\.text)
        variables = (entry["env"]?.items ?? []).compactMap { variable in
            guard let name = variable["name"]?.text else { return nil }
            return Variable(name: name, value: variable["value"]?.text ?? "")
        }
    }
}

/// Which images a provider's credentials are for: `*.example.com/team`, `registry:5000`.
///
/// A star stands for a part of one label of the host, a question mark for one byte of it. The port
/// must be the same, and the path the beginning of the image's.
struct ImagePattern: Sendable, Equatable {
    private let labels: [[UInt8]]
    private let port: String
    private let path: String

    /// The pattern in the text; nil if there is no host in it.
    init?(_ text: String) {
        var rest = text[...]
        for scheme in ["https://", "http://"] where rest.hasPrefix(scheme) {
            rest = rest.dropFirst(scheme.count)
        }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        path = String(rest[slash...])
        let host = rest[..<slash].split(
            separator: ":",
            maxSplits: 1,
            omittingEmptySubsequences: false
        )
        guard let name = host.first, !name.isEmpty else { return nil }
        port = host.count > 1 ? String(host[1]) : ""
        labels = name.split(separator: ".", omittingEmptySubsequences: false)
            .map { Array($0.utf8) }
    }

    /// Whether the image of that registry and repository is meant.
    func matches(_ image: String) -> Bool {
        guard let target = ImagePattern(image) else { return false }
        return labels.count == target.labels.count && port == target.port
            && target.path.hasPrefix(path)
            && zip(labels, target.labels).allSatisfy { Self.matches($0[...], $1[...]) }
    }

    /// Whether a label fits, without going back further than to the last star.
    private static func matches(_ pattern: ArraySlice<UInt8>, _ label: ArraySlice<UInt8>) -> Bool {
        var (pattern, label) = (pattern, label)
        var retry: (pattern: ArraySlice<UInt8>, label: ArraySlice<UInt8>)?
        while !label.isEmpty || !pattern.isEmpty {
            if pattern.first == UInt8(ascii: "*") {
                pattern = pattern.dropFirst()
                retry = (pattern, label)
            } else if let byte = label.first,
                pattern.first == byte || pattern.first == UInt8(ascii: "?")
            {
                pattern = pattern.dropFirst()
                label = label.dropFirst()
            } else if let last = retry, !last.label.isEmpty {
                (pattern, label) = (last.pattern, last.label.dropFirst())
                retry = (pattern, label)
            } else {
                return false
            }
        }
        return true
    }
}

/// Durations as Go's programs write them.
enum GoDuration {
    private static let units: [(name: String, nanoseconds: Double)] = [
        ("ns", 1), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9),
    ]

    /// Whole seconds of `1h30m`, `90s`, `1.5h`, `0`; nil if it is none, or negative.
    static func seconds(_ text: String) -> UInt64? {
        if text == "0" { return 0 }
        var rest = text[...]
        var sum = 0.0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let number = rest.prefix { $0.isNumber || $0 == "." }
            rest = rest.dropFirst(number.count)
            let name = rest.prefix { !$0.isNumber && $0 != "." }
            rest = rest.dropFirst(name.count)
            guard let value = Double(number), let unit = units.first(where: { $0.name == name })
            else { return nil }
            sum += value * unit.nanoseconds
        }
        return sum.isFinite ? UInt64(min(sum / 1e9, 1e9)) : nil
    }
}
