// SPDX-License-Identifier: Apache-2.0

import Content
import Distribution
import Glibc
import Linux
import OCI

/// The files of an image's bootstrap layer, unpacked into a directory of the cache.
///
/// The directory bears the layer's digest and appears whole, after everything in it was verified
/// and is on storage: what bears the name is right.
struct UnpackedBootstrap {
    private let directory: String

    /// Unpacks the layer, unless it has been unpacked before.
    ///
    /// - Parameters:
    ///   - image: the image.
    ///   - cacheDirectory: the cache; owned by this process.
    /// - Throws: `ContentError` if the layer is missing or wrong, `SystemError` if it cannot be
    ///   written.
    init(_ image: ConvertedImage, in cacheDirectory: String) throws {
        let images = cacheDirectory + "/images"
        directory = "\(images)/\(image.bootstrapLayer.digest.hex)"
        if (try? FileStatus(path: directory).isDirectory) == true { return }
        let temporary = directory + ".new"
        try FileSystem.makeDirectories(temporary, mode: 0o700)
        let memory = try AnonymousMemory(byteCount: 1 << 20)
        try unsafe image.readBootstrapLayer { file, _, read in
            let path = "\(temporary)/\(Self.name(of: file))"
            let output = try OwnedDescriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
            while true {
                let count = try unsafe read(memory.bytes)
                guard count > 0 else { break }
                let part = unsafe UnsafeRawBufferPointer(rebasing: memory.bytes[..<count])
                try unsafe output.write(RawSpan(_unsafeBytes: part), path)
            }
            try output.synchronizeData(path)
        }
        try FileSystem.synchronizeDirectory(temporary)
        try FileSystem.rename(temporary, to: directory)
        try FileSystem.synchronizeDirectory(images)
    }

    /// Where a file of the layer is; the file may not be there.
    func path(of file: BootstrapFile) -> String {
        "\(directory)/\(Self.name(of: file))"
    }

    /// Adds a file that the layer does not have.
    ///
    /// - Throws: `SystemError` if it cannot be written.
    func store(_ bytes: [UInt8], as file: BootstrapFile) throws(SystemError) {
        try FileSystem.replace(path(of: file), with: bytes.rawSpan)
    }

    private static func name(of file: BootstrapFile) -> String {
        switch file {
        case .bootstrap: "image.boot"
        case .chunkInfo(let blob): "\(blob.hex).blob.meta"
        case .chunkDigests(let blob): "\(blob.hex).blob.digest"
        }
    }
}
