// SPDX-License-Identifier: Apache-2.0

import Content

/// How a layer's tar is stored.
package enum LayerCompression: Sendable, Equatable {
    case none
    case gzip
    case zstd

    /// What the first bytes of a layer tell.
    ///
    /// A tar begins with a file name, which cannot be one of the two magic numbers in practice:
    /// containerd (`DetectCompression`) and Docker decide the same way.
    ///
    /// - Parameter bytes: the first bytes; 4 are enough, fewer only if the layer has no more.
    package init(magicOf bytes: RawSpan) {
        if bytes.hasPrefix([0x1f, 0x8b, 0x08]) {
            self = .gzip
        } else if let magic = try? bytes.littleEndian(UInt32.self, at: 0),
            ZstdMagic.isFrame(magic)
        {
            self = .zstd
        } else {
            self = .none
        }
    }
}

/// The magic numbers that begin a zstd frame (RFC 8878, 3.1.1 and 3.1.2).
///
/// libzstd also decodes the formats of before 2016; nothing stores images in them, and their
/// decoders see little testing, so every frame's magic number is looked at first.
enum ZstdMagic {
    static let byteCount = 4

    static func isFrame(_ magic: UInt32) -> Bool {
        magic == 0xFD2F_B528 || isSkippable(magic)
    }

    static func isSkippable(_ magic: UInt32) -> Bool {
        magic & 0xFFFF_FFF0 == 0x184D_2A50
    }
}

extension LayerCompression: CustomStringConvertible {
    package var description: String {
        switch self {
        case .none: "uncompressed"
        case .gzip: "gzip"
        case .zstd: "zstd"
        }
    }
}
