// SPDX-License-Identifier: Apache-2.0
//
// The fuzz targets, one program of many names: the name it is called by picks the target, as the
// name of the file does for busybox. libFuzzer brings `main`.

import Glibc

/// What can be fuzzed.
///
/// Each takes any bytes; that it comes back is most of what is tested.
enum Target: String, CaseIterable {
    case tar
    case layer
    case inflate
    case deflate
    case spans
    case bootstrap
    case inodes
    case blob
    case oci

    /// The target that the program's name says.
    static let chosen = Target(rawValue: programName)

    /// The last part of the path that the program was called by.
    static let programName =
        CommandLine.arguments.first?.split(separator: "/").last.map(String.init) ?? ""

    /// Does to the bytes what the program does to bytes of that kind.
    func run(_ bytes: [UInt8]) {
        switch self {
        case .tar: TarTarget.run(bytes)
        case .layer: LayerTarget.run(bytes)
        case .inflate: InflateTarget.run(bytes)
        case .deflate: InflateTarget.runDeflated(bytes)
        case .spans: SpanTarget.run(bytes)
        case .bootstrap: BootstrapTarget.run(bytes)
        case .inodes: BootstrapTarget.runPatches(bytes)
        case .blob: BlobTarget.run(bytes)
        case .oci: DocumentTarget.run(bytes)
        }
    }
}

/// libFuzzer's first call.
///
/// Called as `seeds FOLDER`, the program writes the corpus there and ends.
@c(LLVMFuzzerInitialize)
public func initialize(
    _ count: UnsafeMutablePointer<Int32>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>
) -> Int32 {
    if Target.programName == "seeds" {
        let arguments = CommandLine.arguments
        guard arguments.count == 2 else { exit(2) }
        exit(Seeds.write(to: arguments[1]) ? 0 : 1)
    }
    guard Target.chosen != nil else {
        print("this program is called by the name of a target: \(Target.allCases)")
        exit(2)
    }
    return 0
}

/// libFuzzer's call for every input.
@c(LLVMFuzzerTestOneInput)
public func testOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    // Exactly as long as the input, so that the sanitizer sees the first byte read past its end.
    let input = unsafe [UInt8](UnsafeBufferPointer(start: bytes, count: count))
    Target.chosen?.run(input)
    return 0
}

/// Ends the program as a crash that libFuzzer reports, if something that must hold does not.
func require(_ condition: Bool, _ message: @autoclosure () -> String) {
    guard !condition else { return }
    print("WRONG: \(message())")
    fflush(nil)
    abort()
}
