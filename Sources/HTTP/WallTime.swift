// SPDX-License-Identifier: Apache-2.0

import CCurl

/// Moments as servers write them, in seconds since 1970, UTC.
package enum WallTime {
    /// The moment of a Date header; nil if it is none.
    package static func seconds(ofHTTPDate text: String) -> Int64? {
        let seconds = unsafe curl_getdate(text, nil)
        return seconds == -1 ? nil : Int64(seconds)
    }

    /// The moment in ISO 8601's forms with UTC: `20260131T090507Z`, `2026-01-31T09:05:07Z`, with
    /// or without a fraction; nil if it is none.
    package static func seconds(ofCompactDate text: String) -> Int64? {
        guard text.hasSuffix("Z") else { return nil }
        let main = text.split(separator: ".").first ?? ""
        let digits = main.utf8.filter { (0x30...0x39).contains($0) }.map { Int64($0) - 0x30 }
        guard digits.count == 14 else { return nil }
        func number(_ range: Range<Int>) -> Int64 { digits[range].reduce(0) { $0 * 10 + $1 } }
        let (year, month, day) = (number(0..<4), number(4..<6), number(6..<8))
        guard (1...12).contains(month), (1...31).contains(day) else { return nil }
        // Years counted from March, so that the leap day comes last.
        let shifted = month > 2 ? year : year - 1
        let monthFromMarch = (month + 9) % 12
        let dayOfYear = (153 * monthFromMarch + 2) / 5 + day - 1
        let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + dayOfYear - 719_468
        return days * 86_400 + number(8..<10) * 3600 + number(10..<12) * 60 + number(12..<14)
    }
}
