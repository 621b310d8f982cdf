// SPDX-License-Identifier: Apache-2.0

import CCurl

/// An address of http or https, taken apart by libcurl, so that what is compared here is what is
/// connected to there.
package struct URL: Sendable, Hashable, CustomStringConvertible {
    /// The whole address, never to be shown: its query may hold secrets.
    package let text: String
    /// `http` or `https`.
    package let scheme: String
    /// The host in lower case; an IPv6 address in brackets.
    package let host: String
    /// The port, named or implied.
    package let port: UInt16
    /// The path, from its slash.
    package let path: String
    /// The query without its question mark, as it came; nil if there is none.
    package let query: String?

    /// The address in the text.
    ///
    /// A user part and a fragment are left out.
    ///
    /// - Parameter text: an absolute address; nil if it is none, or of another scheme.
    package init?(_ text: String) {
        self.init(text, base: nil)
    }

    private init?(_ text: String, base: String?) {
        guard !text.utf8.contains(0), text.utf8.count <= 1 << 16, let handle = unsafe curl_url()
        else { return nil }
        defer { unsafe curl_url_cleanup(handle) }
        for part in [base, text].compactMap({ $0 }) {
            guard unsafe curl_url_set(handle, CURLUPART_URL, part, 0) == CURLUE_OK else {
                return nil
            }
        }
        for part in [CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS, CURLUPART_FRAGMENT] {
            _ = unsafe curl_url_set(handle, part, nil, 0)
        }
        guard let whole = unsafe Self.part(CURLUPART_URL, of: handle),
            let scheme = unsafe Self.part(CURLUPART_SCHEME, of: handle)?.lowercased(),
            scheme == "http" || scheme == "https",
            let host = unsafe Self.part(CURLUPART_HOST, of: handle), !host.isEmpty,
            let port = unsafe Self.part(CURLUPART_PORT, of: handle).flatMap({ UInt16($0) })
        else { return nil }
        self.text = whole
        self.scheme = scheme
        self.host = host.lowercased()
        self.port = port
        path = unsafe Self.part(CURLUPART_PATH, of: handle) ?? "/"
        query = unsafe Self.part(CURLUPART_QUERY, of: handle)
    }

    private static func part(_ part: CURLUPart, of handle: OpaquePointer) -> String? {
        var text: UnsafeMutablePointer<CChar>?
        let flags = UInt32(CURLU_DEFAULT_PORT)
        guard
            unsafe curl_url_get(handle, part, &text, part == CURLUPART_PORT ? flags : 0)
                == CURLUE_OK, let text = unsafe text
        else { return nil }
        defer { unsafe curl_free(text) }
        return unsafe String(cString: text)
    }

    /// What a reference means that stands in an answer from here.
    ///
    /// - Parameter reference: absolute or relative.
    /// - Returns: the address; nil if it is none.
    package func resolving(_ reference: String) -> URL? {
        URL(reference, base: text)
    }

    /// Scheme, host and port: whom a secret may be told.
    package var origin: String { "\(scheme)://\(host):\(port)" }

    /// Whether the host is this machine.
    package var isLoopback: Bool {
        host == "localhost" || host.hasPrefix("127.") || host == "[::1]"
    }

    /// The address without its query.
    package var description: String {
        let isDefault = port == (scheme == "https" ? 443 : 80)
        return "\(scheme)://\(host)\(isDefault ? "" : ":\(port)")\(path)"
    }

    /// The address with more in its query.
    ///
    /// - Parameter fields: names and values, which are escaped.
    /// - Returns: the address; nil if that makes no address.
    package func adding(_ fields: KeyValuePairs<String, String>) -> URL? {
        var parts = query.map { [$0] } ?? []
        parts += fields.map { "\(Self.escaped($0.key))=\(Self.escaped($0.value))" }
        let base = text.split(separator: "?", maxSplits: 1).first ?? ""
        return URL(parts.isEmpty ? text : "\(base)?\(parts.joined(separator: "&"))")
    }

    /// The text as one value of a query or a form.
    package static func escaped(_ text: String) -> String {
        var result = ""
        let digits = Array("0123456789ABCDEF".unicodeScalars)
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e:
                result.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                result += "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 0xf)])"
            }
        }
        return result
    }

    /// The values of a name in the query, escapes resolved.
    package func queryValue(_ name: String) -> String? {
        for field in (query ?? "").split(separator: "&") {
            let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, Self.unescaped(parts[0]) == name else { continue }
            return Self.unescaped(parts[1])
        }
        return nil
    }

    private static func unescaped(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == 0x25, rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
