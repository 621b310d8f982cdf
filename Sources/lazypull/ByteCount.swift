// SPDX-License-Identifier: Apache-2.0

/// Numbers of bytes for people.
enum ByteCount {
    /// The number with a binary unit and at most one decimal: `0 B`, `1.5 KiB`, `20 GiB`.
    static func text(_ count: UInt64) -> String {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
        guard count >= 1024 else { return "\(count) B" }
        var value = Double(count) / 1024
        var unit = 0
        // Not 1024: what rounds to it reads better in the next unit.
        while value >= 1023.5, unit + 1 < units.count {
            value /= 1024
            unit += 1
        }
        let tenths = Int((value * 10).rounded())
        let number =
            value >= 99.95 || tenths % 10 == 0
            ? "\(Int(value.rounded()))" : "\(tenths / 10).\(tenths % 10)"
        return "\(number) \(units[unit])"
    }
}
