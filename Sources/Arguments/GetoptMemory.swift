// SPDX-License-Identifier: Apache-2.0

import CLinux

/// A text as C reads it, freed with its owner.
@safe
private func makeCString(_ text: String) -> UnsafeMutablePointer<CChar> {
    let bytes = text.utf8
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
    for (index, byte) in bytes.enumerated() {
        unsafe copy[index] = CChar(bitPattern: byte)
    }
    unsafe copy[bytes.count] = 0
    return unsafe copy
}

/// The argument vector getopt_long reads and reorders: pointers ended by a null.
@safe
struct ArgumentVector: ~Copyable {
    /// The pointers; getopt_long moves those of operands behind those of options.
    let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    /// How many arguments there are.
    let count: Int32

    /// Copies the arguments.
    init(_ arguments: [String]) {
        count = Int32(clamping: arguments.count)
        unsafe pointers = .allocate(capacity: Int(count) + 1)
        for index in 0..<Int(count) {
            unsafe (pointers + index).initialize(to: makeCString(arguments[index]))
        }
        unsafe (pointers + Int(count)).initialize(to: nil)
    }

    deinit {
        for index in 0..<Int(count) {
            unsafe pointers[index]?.deallocate()
        }
        unsafe pointers.deallocate()
    }

    /// The argument now at the place, or nil beyond the end.
    subscript(_ index: Int) -> String? {
        guard (0..<Int(count)).contains(index) else { return nil }
        return unsafe pointers[index].map { unsafe String(cString: $0) }
    }
}

/// The options as getopt_long wants them declared.
@safe
struct OptionTable: ~Copyable {
    /// `:` (tell a missing value from an unknown option), then the letters.
    let shortOptions: UnsafeMutablePointer<CChar>
    /// The long options, ended by an entry of zeros.
    let longOptions: UnsafeMutablePointer<CLinux.option>
    private let count: Int

    /// Declares the options; the one at index n answers with `firstValue` + n in its long form and
    /// with its letter in the short form.
    init(_ options: [Option], firstValue: Int32) {
        var letters = ":"
        for option in options {
            guard let short = option.short else { continue }
            letters.append(short)
            if option.value != nil { letters.append(":") }
        }
        count = options.count
        unsafe shortOptions = makeCString(letters)
        unsafe longOptions = .allocate(capacity: options.count + 1)
        var value = firstValue
        for (index, option) in options.enumerated() {
            let name = makeCString(option.name)
            let takesValue = option.value == nil ? no_argument : required_argument
            let entry = unsafe CLinux.option(name: name, has_arg: takesValue, flag: nil, val: value)
            unsafe (longOptions + index).initialize(to: entry)
            value += 1
        }
        unsafe (longOptions + options.count).initialize(to: CLinux.option())
    }

    deinit {
        for index in 0..<count {
            unsafe longOptions[index].name?.deallocate()
        }
        unsafe longOptions.deallocate()
        unsafe shortOptions.deallocate()
    }
}
