// SPDX-License-Identifier: Apache-2.0
//
// InflateBenchmark DECODER FILE [LIMIT]: decodes a gzip file, at most LIMIT bytes of it, and prints
// how many bytes came out. DECODER is `lazypull` or `zlib`.

import CZlib
import Compression
import Content
import Glibc

/// A file, read in pieces.
private struct FileStream: ByteStream {
    let descriptor: Int32

    mutating func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(ContentError) -> Int {
        let count = unsafe Glibc.read(descriptor, buffer.baseAddress, buffer.count)
        guard count >= 0 else { throw ContentError(.inputOutput, "cannot read the file") }
        return count
    }
}

@main
private struct InflateBenchmark {
    /// As large as the reads of a layer's contents.
    private static let outputSize = 1 << 20
    private static let inputSize = 256 << 10

    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count >= 3, let limit = Int(arguments.count > 3 ? arguments[3] : "0") else {
            end("usage: InflateBenchmark lazypull|zlib FILE [LIMIT]")
        }
        let descriptor = unsafe open(arguments[2], O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { end("cannot open \(arguments[2])") }
        let limitOrAll = limit > 0 ? limit : .max
        switch arguments[1] {
        case "lazypull": print(lazypull(FileStream(descriptor: descriptor), limitOrAll))
        case "zlib": print(zlib(FileStream(descriptor: descriptor), limitOrAll))
        default: end("unknown decoder \(arguments[1])")
        }
    }

    private static func lazypull(_ file: FileStream, _ limit: Int) -> Int {
        var decoder = GzipDecoder(file)
        let output = UnsafeMutableRawBufferPointer.allocate(byteCount: outputSize, alignment: 4096)
        defer { unsafe output.deallocate() }
        var total = 0
        do throws(ContentError) {
            while total < limit {
                let count = try unsafe decoder.read(into: output)
                guard count > 0 else { break }
                total += count
            }
        } catch {
            end(error.message)
        }
        return total
    }

    /// One member, by zlib's own streaming interface.
    private static func zlib(_ file: FileStream, _ limit: Int) -> Int {
        var file = file
        var stream = unsafe z_stream()
        guard unsafe czlib_inflate_init(&stream, 15 + 16) == Z_OK else { end("no memory") }
        defer { _ = unsafe inflateEnd(&stream) }
        let input = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: inputSize)
        let output = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: outputSize)
        defer {
            unsafe input.deallocate()
            unsafe output.deallocate()
        }
        var total = 0
        var code = Z_OK
        while code == Z_OK, total < limit {
            if unsafe stream.avail_in == 0 {
                let count = try? unsafe file.read(into: UnsafeMutableRawBufferPointer(input))
                guard let count, count > 0 else { end("the file ends early") }
                unsafe stream.next_in = input.baseAddress
                unsafe stream.avail_in = UInt32(count)
            }
            unsafe stream.next_out = output.baseAddress
            unsafe stream.avail_out = UInt32(outputSize)
            code = unsafe inflate(&stream, Z_NO_FLUSH)
            total += unsafe outputSize - Int(stream.avail_out)
        }
        guard code == Z_OK || code == Z_STREAM_END else { end("zlib fails with \(code)") }
        return total
    }

    private static func end(_ message: String) -> Never {
        print(message)
        exit(1)
    }
}
