// SPDX-License-Identifier: Apache-2.0

/// How chunks and tables are stored; the raw values are those of RAFS' tables.
package enum Compressor: UInt32, Sendable {
    /// As they are.
    case none = 0
    /// A bare LZ4 block, without a frame or a size.
    case lz4 = 1
    /// A gzip member.
    case gzip = 2
    /// A zstd frame.
    case zstd = 3
}

/// Which function digests the chunks; the raw values are those of RAFS' tables.
package enum Digester: UInt32, Sendable {
    case blake3 = 0
    case sha256 = 1
}

/// How the chunks of one blob are stored and named.
package struct ChunkCoding: Hashable, Sendable {
    /// How those chunks are compressed that are not stored as they are.
    package var compressor: Compressor
    /// Which function gives the digests of their contents.
    package var digester: Digester

    /// The coding of those two.
    package init(compressor: Compressor, digester: Digester) {
        self.compressor = compressor
        self.digester = digester
    }

    /// What this program writes: zstd and SHA-256.
    package static let written = ChunkCoding(compressor: .zstd, digester: .sha256)
}
