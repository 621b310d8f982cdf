// SPDX-License-Identifier: Apache-2.0

/// Finds what a mistyped name was meant to be.
package enum NearestName {
    /// The name that needs the fewest edits to become the mistyped one, if they are few enough to
    /// be a slip: one per three letters, and at least one.
    ///
    /// - Parameters:
    ///   - mistyped: what was written.
    ///   - names: what could have been meant; of equally near ones the first is taken.
    /// - Returns: the nearest name, or nil if none is near.
    package static func find(_ mistyped: String, in names: [String]) -> String? {
        let limit = max(1, mistyped.utf8.count / 3)
        // A name much longer than any of ours is not compared: its cost grows with both lengths.
        guard let longest = names.map(\.utf8.count).max(), mistyped.utf8.count <= 2 * longest else {
            return nil
        }
        let ranked = names.map { (name: $0, edits: edits(from: mistyped, to: $0)) }
        guard let best = ranked.min(by: { $0.edits < $1.edits }), best.edits <= limit else {
            return nil
        }
        return best.name
    }

    /// How many letters must be inserted, removed, replaced or swapped with their neighbour.
    static func edits(from source: String, to target: String) -> Int {
        let source = Array(source.utf8)
        let target = Array(target.utf8)
        // Optimal string alignment: three rows of the table are enough.
        var beforeLast: [Int] = []
        var last = Array(0...target.count)
        for row in 0..<source.count {
            var current = [row + 1]
            for column in 0..<target.count {
                let replaced = last[column] + (source[row] == target[column] ? 0 : 1)
                var best = min(replaced, last[column + 1] + 1, current[column] + 1)
                if row > 0, column > 0, source[row] == target[column - 1],
                    source[row - 1] == target[column]
                {
                    best = min(best, beforeLast[column - 1] + 1)
                }
                current.append(best)
            }
            beforeLast = last
            last = current
        }
        return last[target.count]
    }
}
