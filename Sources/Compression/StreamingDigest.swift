// SPDX-License-Identifier: Apache-2.0
//
// Compression: gzip and zstd as streams; these, LZ4 and nothing at all as single chunks; SHA-256 and
// BLAKE3. Bytes in, bytes out: nothing here opens a file.

import CCrypto
package import Content

/// SHA-256 of bytes that come one after another.
@safe
package struct StreamingDigest: ~Copyable {
    // Owned: made in init, freed in deinit.
    private let context: OpaquePointer

    /// The digest of no bytes yet.
    package init() {
        guard let context = unsafe EVP_MD_CTX_new() else {
            preconditionFailure("no memory for a SHA-256 state of some hundred bytes")
        }
        unsafe self.context = context
        start()
    }

    deinit {
        unsafe EVP_MD_CTX_free(context)
    }

    private func start() {
        let isReady = unsafe EVP_DigestInit_ex2(context, Algorithm.sha256.pointer, nil) == 1
        precondition(isReady, "SHA-256 is built into libcrypto: only a lack of memory ends here")
    }

    /// Takes the next bytes.
    package mutating func update(_ bytes: RawSpan) {
        unsafe bytes.withUnsafeBytes { unsafe update($0) }
    }

    /// Takes the next bytes, which live only as long as the call.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        let isTaken = unsafe EVP_DigestUpdate(context, base, bytes.count) == 1
        precondition(isTaken, "updating SHA-256 works in memory it already has")
    }

    /// The digest of all bytes taken; begins anew, so that the state may serve again.
    package mutating func finish() -> Digest {
        var output = [UInt8](repeating: 0, count: Digest.byteCount)
        let isMade = unsafe EVP_DigestFinal_ex(context, &output, nil) == 1
        guard isMade, let digest = Digest(bytes: output) else {
            preconditionFailure("SHA-256 gives 32 bytes from memory it already has")
        }
        start()
        return digest
    }

    /// The SHA-256 of the bytes.
    package static func digest(of bytes: RawSpan) -> Digest {
        var digest = StreamingDigest()
        digest.update(bytes)
        return digest.finish()
    }

    /// The SHA-256 of the bytes.
    package static func digest(of bytes: [UInt8]) -> Digest {
        unsafe bytes.withUnsafeBytes { buffer in
            var digest = StreamingDigest()
            unsafe digest.update(buffer)
            return digest.finish()
        }
    }
}

extension Digester {
    /// The digest of the bytes by this function.
    package func digest(of bytes: RawSpan) -> Digest {
        switch self {
        case .blake3: BLAKE3.digest(of: bytes)
        case .sha256: StreamingDigest.digest(of: bytes)
        }
    }
}

/// The implementation of SHA-256, fetched once: OpenSSL 3 takes locks and searches its providers
/// on every fetch.
@safe
private struct Algorithm: @unchecked Sendable {
    // @unchecked: a fetched EVP_MD is immutable; it is never freed.
    let pointer: OpaquePointer?

    // A library context of our own does not read the host's openssl.cnf, which may name providers
    // that a static executable cannot load.
    static let sha256 = unsafe Algorithm(
        pointer: EVP_MD_fetch(OSSL_LIB_CTX_new(), "SHA256", nil)
    )
}
