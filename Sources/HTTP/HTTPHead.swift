// SPDX-License-Identifier: Apache-2.0

/// Status and headers of a response.
package struct HTTPHead: Sendable, Equatable {
    /// The status, 100...999.
    package var status: Int
    /// The headers, names in lower case, in the order they came.
    package var headers: [HTTPHeader]

    /// A head with the values.
    package init(status: Int, headers: [HTTPHeader] = []) {
        self.status = status
        self.headers = headers
    }

    /// The first header of that name, in lower case.
    package subscript(name: String) -> String? { headers.first { $0.name == name }?.value }

    /// All headers of that name, in lower case.
    package func all(_ name: String) -> [String] {
        headers.filter { $0.name == name }.map(\.value)
    }

    /// Whether the request was granted.
    package var isSuccess: Bool { (200...299).contains(status) }

    /// Whether the response says to ask elsewhere.
    package var isRedirect: Bool {
        [301, 302, 303, 307, 308].contains(status) && self["location"] != nil
    }
}

/// One header.
package struct HTTPHeader: Sendable, Hashable {
    /// Its name; in responses in lower case.
    package var name: String
    /// Its value without blanks around it.
    package var value: String

    /// A header.
    package init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// Gathers the lines of a head as they come from libcurl.
struct HeadParser {
    /// The bytes that all lines of a head may have.
    static let limit = 256 << 10

    private var head: HTTPHead?
    private var size = 0
    /// Whether a final head is complete: what follows are trailers.
    private var isComplete = false

    enum Step: Equatable {
        case more
        case complete(HTTPHead)
        case tooLarge
    }

    /// Takes one line with its end.
    mutating func take(_ line: UnsafeRawBufferPointer) -> Step {
        guard !isComplete else { return .more }
        size += line.count
        guard size <= Self.limit else { return .tooLarge }
        let text = unsafe Self.trimmed(String(decoding: line, as: UTF8.self))
        if text.hasPrefix("HTTP/") {
            // Another one may have come before: 100 Continue, or a proxy's.
            let status = text.split(separator: " ", maxSplits: 2).dropFirst().first
            head = HTTPHead(status: status.flatMap { Int($0) } ?? 0)
            return .more
        }
        guard let head else { return .more }
        guard text.isEmpty else {
            append(text)
            return .more
        }
        guard head.status >= 200 else { return .more }
        isComplete = true
        return .complete(head)
    }

    private mutating func append(_ line: Substring) {
        guard let colon = line.firstIndex(of: ":") else { return }
        let name = Self.trimmed(line[..<colon]).lowercased()
        let value = Self.trimmed(line[line.index(after: colon)...])
        head?.headers.append(HTTPHeader(name, String(value)))
    }

    private static func trimmed(_ text: some StringProtocol) -> Substring {
        var rest = Substring(text)
        while let last = rest.unicodeScalars.last, " \t\r\n".unicodeScalars.contains(last) {
            rest.unicodeScalars.removeLast()
        }
        return rest.drop { $0 == " " || $0 == "\t" }
    }
}
