// SPDX-License-Identifier: Apache-2.0

import CCurl
import Linux

/// One transfer of libcurl's, with everything it points to.
///
/// Made, used and destroyed by the network thread.
@safe
final class EasyHandle {
    let handle: UnsafeMutableRawPointer
    private var headers: UnsafeMutablePointer<curl_slist>?
    private let errorText: UnsafeMutablePointer<CChar>
    // libcurl reads it where it is.
    private let body: HTTPBody?

    /// Milliseconds to find a host and to agree on a connection.
    private static let connectMilliseconds = 15_000
    /// Bytes read at once.
    ///
    /// Each transfer has a buffer of so many: from 512 KiB on malloc gave its pages back after every
    /// request, and the kernel cleared new ones for the next.
    private static let readSize = 128 << 10

    /// A transfer that is ready to be added.
    ///
    /// - Throws: `HTTPError` if there is no memory, or the request cannot be sent.
    init(_ request: HTTPRequest, userAgent: String) throws(HTTPError) {
        guard let handle = unsafe curl_easy_init() else {
            throw HTTPError(.exhausted, "no memory for a request").of(request)
        }
        unsafe self.handle = handle
        unsafe errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        unsafe errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        body = request.body
        unsafe headers = nil
        set(CURLOPT_NOSIGNAL, 1)
        // Nothing else is reachable; redirects are followed by ourselves.
        set(CURLOPT_PROTOCOLS_STR, "http,https")
        set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https")
        set(CURLOPT_FOLLOWLOCATION, 0)
        set(CURLOPT_DISALLOW_USERNAME_IN_URL, 1)
        set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1)
        set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_2TLS))
        set(CURLOPT_BUFFERSIZE, Self.readSize)
        set(CURLOPT_TCP_KEEPALIVE, 1)
        set(CURLOPT_CONNECTTIMEOUT_MS, Self.connectMilliseconds)
        set(CURLOPT_LOW_SPEED_LIMIT, 1)
        set(CURLOPT_LOW_SPEED_TIME, max(1, request.stallSeconds))
        set(CURLOPT_USERAGENT, userAgent)
        set(CURLOPT_URL, request.url.text)
        if let socket = request.unixSocket { set(CURLOPT_UNIX_SOCKET_PATH, socket) }
        // One connection for many requests, where both sides speak HTTP/2.
        if request.url.scheme == "https" { set(CURLOPT_PIPEWAIT, 1) }
        unsafe ccurl_set_pointer(handle, CURLOPT_ERRORBUFFER, errorText)
        setMethod(request)
        setDeadline(request)
        setTLS(request.tls)
        try setHeaders(request)
    }

    deinit {
        unsafe curl_easy_cleanup(handle)
        unsafe curl_slist_free_all(headers)
        unsafe errorText.deallocate()
    }

    private func set(_ option: CURLoption, _ value: Int) {
        _ = unsafe ccurl_set_long(handle, option, value)
    }

    // Copied by libcurl.
    private func set(_ option: CURLoption, _ value: String) {
        _ = unsafe ccurl_set_text(handle, option, value)
    }

    private func setMethod(_ request: HTTPRequest) {
        switch request.method {
        case .get: break
        case .head: set(CURLOPT_NOBODY, 1)
        default:
            set(CURLOPT_CUSTOMREQUEST, request.method.rawValue)
            let bytes = unsafe request.body?.bytes
            unsafe ccurl_set_offset(handle, CURLOPT_POSTFIELDSIZE_LARGE, Int(bytes?.count ?? 0))
            let start = unsafe UnsafeMutableRawPointer(mutating: bytes?.baseAddress)
            if request.method != .delete {
                // A body of no bytes still needs a place, or libcurl would ask for it.
                unsafe ccurl_set_pointer(
                    handle,
                    CURLOPT_POSTFIELDS,
                    start ?? UnsafeMutableRawPointer(errorText)
                )
            }
        }
    }

    private func setDeadline(_ request: HTTPRequest) {
        guard let deadline = request.deadline else { return }
        let now = CurrentProcess.monotonicNanoseconds
        let rest = deadline > now ? (deadline - now) / 1_000_000 : 0
        set(CURLOPT_TIMEOUT_MS, Int(clamping: min(max(rest, 1), UInt64(Int32.max))))
    }

    private func setTLS(_ tls: TLSSettings) {
        if !tls.isVerified {
            set(CURLOPT_SSL_VERIFYPEER, 0)
            set(CURLOPT_SSL_VERIFYHOST, 0)
        }
        if tls.authorities.isEmpty {
            if let path = SystemAuthorities.path { set(CURLOPT_CAINFO, path) }
        } else {
            let all = SystemAuthorities.certificates + [0x0a] + tls.authorities
            unsafe all.withUnsafeBytes { bytes in
                _ = unsafe ccurl_set_blob(
                    handle,
                    CURLOPT_CAINFO_BLOB,
                    bytes.baseAddress,
                    bytes.count
                )
            }
        }
        if let certificate = tls.clientCertificate {
            set(CURLOPT_SSLCERT, certificate)
            set(CURLOPT_SSLKEY, tls.clientKey ?? certificate)
        }
    }

    private func setHeaders(_ request: HTTPRequest) throws(HTTPError) {
        var all = request.headers + request.hostHeaders
        if let authorization = request.authorization {
            all.removeAll { $0.name.lowercased() == "authorization" }
            all.append(HTTPHeader("Authorization", authorization))
        }
        if let range = request.range {
            all.append(HTTPHeader("Range", "bytes=\(range.lowerBound)-\(range.upperBound)"))
        }
        for header in all {
            let text = "\(header.name): \(header.value)"
            // A line's end would begin a header of somebody else's choice.
            guard text.unicodeScalars.allSatisfy({ $0.value >= 0x20 || $0 == "\t" }),
                !header.name.isEmpty, !header.name.contains(":")
            else { throw HTTPError(.invalidRequest, "a header is malformed").of(request) }
            try append(header.value.isEmpty ? "\(header.name);" : text, request)
        }
        // Without it a larger body waits a second for a leave few servers give.
        try append("Expect:", request)
        if !all.contains(where: { $0.name.lowercased() == "content-type" }) {
            try append("Content-Type:", request)
        }
        unsafe ccurl_set_pointer(handle, CURLOPT_HTTPHEADER, headers)
    }

    private func append(_ line: String, _ request: HTTPRequest) throws(HTTPError) {
        guard let list = unsafe curl_slist_append(headers, line) else {
            throw HTTPError(.exhausted, "no memory for a request").of(request)
        }
        unsafe headers = list
    }

    /// The handle's address, to find it by.
    var number: UInt { unsafe UInt(bitPattern: handle) }

    /// Has libcurl call back.
    ///
    /// - Parameters:
    ///   - context: handed to both.
    ///   - head: gets each line of the head.
    ///   - body: gets the bytes of the body.
    func setFunctions(
        _ context: UnsafeMutableRawPointer,
        head: @escaping ccurl_data_function,
        body: @escaping ccurl_data_function
    ) {
        unsafe ccurl_set_data_function(handle, CURLOPT_HEADERFUNCTION, head)
        unsafe ccurl_set_pointer(handle, CURLOPT_HEADERDATA, context)
        unsafe ccurl_set_data_function(handle, CURLOPT_WRITEFUNCTION, body)
        unsafe ccurl_set_pointer(handle, CURLOPT_WRITEDATA, context)
    }

    /// What a result means.
    func error(_ code: CURLcode) -> HTTPError {
        let text = unsafe String(cString: errorText)
        let cause = unsafe text.isEmpty ? String(cString: curl_easy_strerror(code)) : text
        let kind: HTTPError.Kind
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY: kind = .unknownHost
        case CURLE_COULDNT_CONNECT: kind = .unreachable
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CERTPROBLEM,
            CURLE_SSL_ISSUER_ERROR, CURLE_SSL_PINNEDPUBKEYNOTMATCH:
            kind = .untrusted
        case CURLE_OPERATION_TIMEDOUT: kind = .timeout
        case CURLE_PARTIAL_FILE, CURLE_GOT_NOTHING, CURLE_SEND_ERROR, CURLE_RECV_ERROR,
            CURLE_HTTP2, CURLE_HTTP2_STREAM, CURLE_SSL_CONNECT_ERROR, CURLE_AGAIN, CURLE_PROXY:
            kind = .interrupted
        case CURLE_OUT_OF_MEMORY: kind = .exhausted
        case CURLE_URL_MALFORMAT, CURLE_UNSUPPORTED_PROTOCOL: kind = .invalidRequest
        default: kind = .malformed
        }
        return HTTPError(kind, cause)
    }
}

/// The certificates of authorities that this system trusts.
enum SystemAuthorities {
    /// Where distributions keep them, Debian first.
    private static let places = [
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
    ]

    /// The file that holds them, SSL_CERT_FILE before all; nil if there is none.
    static let path: String? = {
        let named = CurrentProcess.environment("SSL_CERT_FILE").map { [$0] } ?? []
        return (named + places).first { (try? FileStatus(path: $0)) != nil }
    }()

    /// They themselves in PEM; empty if there are none.
    static var certificates: [UInt8] {
        path.flatMap { try? FileSystem.contents(of: $0, limit: 16 << 20) } ?? []
    }
}
