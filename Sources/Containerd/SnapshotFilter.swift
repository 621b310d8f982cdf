// SPDX-License-Identifier: Apache-2.0

/// Which snapshots a caller of `List` wants, in containerd's filter language.
///
/// A filter is a list of selectors, all of which must hold, `parent==base,labels."a.b"~=^x`; of
/// several filters one must hold. The language is that of containerd's package `filters`:
///
///     filter   = [ selector { "," selector } ]
///     selector = path [ operator value ]
///     path     = field { "." field }
///     field    = quoted | letters, digits and _
///     operator = "==" | "!=" | "~="
///     value    = quoted | anything without white space and commas
///     quoted   = a string of Go in "…"; after ~= also in /…/ or |…|
///
/// Fields are `name`, `parent`, `kind` and `labels.<key>`; what has no such field has the empty
/// text there. A path alone asks whether there is one. A regular expression is one of Go's, and may
/// match any part.
package struct SnapshotFilter: Sendable {
    /// Every snapshot.
    package static let all = SnapshotFilter(alternatives: [])

    /// The most filters of a call, selectors of a filter, and bytes of a filter that are read.
    static let (filterLimit, selectorLimit, textLimit) = (256, 256, 64 << 10)

    /// One of these must hold; none at all stands for everything.
    private let alternatives: [[SnapshotSelector]]

    private init(alternatives: [[SnapshotSelector]]) {
        self.alternatives = alternatives
    }

    /// Reads filters.
    ///
    /// - Parameter texts: the filters; none at all, or one that is empty, asks for everything.
    /// - Throws: `invalidArgument` with the filter and the place in it.
    package init(parsing texts: [String]) throws(RPCStatus) {
        guard texts.count <= Self.filterLimit else {
            throw RPCStatus(.invalidArgument, "more than \(Self.filterLimit) filters")
        }
        var alternatives: [[SnapshotSelector]] = []
        for text in texts {
            guard !text.isEmpty else {
                self = .all
                return
            }
            var parser = try FilterParser(text)
            alternatives.append(try parser.selectors())
        }
        self.alternatives = alternatives
    }

    /// Whether the snapshot is wanted.
    package func matches(_ snapshot: SnapshotInfo) -> Bool {
        alternatives.isEmpty
            || alternatives.contains { selectors in
                selectors.allSatisfy { $0.matches(snapshot) }
            }
    }
}

/// One condition of a filter.
struct SnapshotSelector: Sendable {
    /// What is compared.
    enum Field: Sendable, Equatable {
        case name
        case parent
        case kind
        case label(String)
        /// What no snapshot has.
        case other
    }

    /// How it is compared.
    enum Test: Sendable {
        case isPresent
        case equals(String)
        case differs(String)
        case matches(Pattern)
    }

    /// What is compared.
    let field: Field
    /// How it is compared.
    let test: Test

    /// Whether the condition holds.
    func matches(_ snapshot: SnapshotInfo) -> Bool {
        let value = value(of: snapshot)
        switch test {
        case .isPresent: return value != nil
        // Byte by byte: Swift's own comparison takes composed and decomposed letters for the same.
        case .equals(let text): return value.map { $0.utf8.elementsEqual(text.utf8) } ?? false
        case .differs(let text): return !(value ?? "").utf8.elementsEqual(text.utf8)
        case .matches(let pattern): return pattern.matches(value ?? "")
        }
    }

    private func value(of snapshot: SnapshotInfo) -> String? {
        switch field {
        case .name: snapshot.name
        case .parent: snapshot.parent
        case .kind: snapshot.kind.name
        case .label(let key): snapshot.labels[key]
        case .other: nil
        }
    }
}
