// SPDX-License-Identifier: Apache-2.0

import CLinux
import Synchronization

/// Takes a command line apart with glibc's getopt_long(3).
enum OptionScanner {
    /// What getopt_long found, one per option.
    enum Event {
        /// A declared option and its value.
        case option(Option, String?)
        /// A word that begins with a dash and is no option, or the cut name of several.
        case unknown(String)
        /// An option that needs a value and stands last.
        case missingValue(Option)
        /// A switch written with `=value`.
        case unwantedValue(Option)
    }

    /// The options found, in order, then what is left.
    struct Scan {
        /// The options; the first one that is not `.option` is the last.
        var events: [Event] = []
        /// The operands, in order.
        var operands: [String] = []
    }

    /// getopt_long keeps its place in process-wide variables: one scan at a time.
    private static let place = Mutex(())

    /// Long options answer with this plus their index, above every short option's letter.
    private static let firstLongValue: Int32 = 256

    /// Takes the arguments apart.
    static func scan(_ arguments: [String], _ options: [Option]) -> Scan {
        let table = OptionTable(options, firstValue: firstLongValue)
        let vector = ArgumentVector(["lazypull"] + arguments)
        return place.withLock { _ in scan(vector, table, options) }
    }

    private static func scan(
        _ vector: borrowing ArgumentVector,
        _ table: borrowing OptionTable,
        _ options: [Option]
    ) -> Scan {
        var scan = Scan()
        clinux_getopt_reset()
        while true {
            let found = unsafe getopt_long(
                vector.count,
                vector.pointers,
                table.shortOptions,
                table.longOptions,
                nil
            )
            guard found != -1 else { break }
            let event = event(found, vector, options)
            scan.events.append(event)
            guard case .option = event else { return scan }
        }
        let first = Int(clinux_optind())
        scan.operands = (first..<max(first, Int(vector.count))).compactMap { vector[$0] }
        return scan
    }

    private static func event(
        _ found: Int32,
        _ vector: borrowing ArgumentVector,
        _ options: [Option]
    ) -> Event {
        switch found {
        case Int32(UInt8(ascii: ":")):
            guard let option = option(clinux_optopt(), options) else { break }
            return .missingValue(option)
        case Int32(UInt8(ascii: "?")):
            let code = clinux_optopt()
            if code >= firstLongValue, let option = option(code, options) {
                return .unwantedValue(option)
            }
            if code > 0, code < firstLongValue {
                return .unknown("-\(Unicode.Scalar(UInt8(truncatingIfNeeded: code)))")
            }
        default:
            guard let option = option(found, options) else { break }
            guard option.value != nil else { return .option(option, nil) }
            return .option(option, unsafe clinux_optarg().map { unsafe String(cString: $0) } ?? "")
        }
        return .unknown(vector[Int(clinux_optind()) - 1] ?? "-")
    }

    /// The option that getopt_long names by its letter or its table value.
    private static func option(_ code: Int32, _ options: [Option]) -> Option? {
        if code >= firstLongValue {
            let index = Int(code - firstLongValue)
            return index < options.count ? options[index] : nil
        }
        return options.first { option in
            option.short?.asciiValue.map(Int32.init) == code
        }
    }
}
