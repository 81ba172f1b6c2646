internal import CCrypto

/// Looks at a certificate and its key before anybody is served with them, so that what is wrong is said by file and cause.
public enum Certificate {
    /// What is wrong, as `the certificate ended on Jan  2 00:00:00 2026 GMT`; `nil`: nothing.
    ///
    /// - Parameters:
    ///   - certificate: PEM, its own certificate first.
    ///   - key: PEM.
    public static func fault(
        certificate: [UInt8], named certificateFile: String, key: [UInt8], named keyFile: String
    ) -> String? {
        guard let leaf = read(certificate, { PEM_read_bio_X509($0, nil, nil, nil) }) else {
            return "\(certificateFile): is no certificate in PEM"
        }
        defer { X509_free(leaf) }
        guard let secret = read(key, { PEM_read_bio_PrivateKey($0, nil, nil, nil) }) else {
            return "\(keyFile): is no key in PEM without a passphrase"
        }
        defer { EVP_PKEY_free(secret) }
        guard X509_check_private_key(leaf, secret) == 1 else {
            return "\(keyFile): is not the key of the certificate \(certificateFile)"
        }
        return timeFault(of: leaf).map { "\(certificateFile): the certificate \($0)" }
    }

    /// As `ended on Jan  2 00:00:00 2026 GMT`; `nil`: it counts now.
    static func timeFault(of certificate: OpaquePointer) -> String? {
        if X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0 {
            return "ended on \(text(X509_get0_notAfter(certificate)))"
        }
        if X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0 {
            return "begins on \(text(X509_get0_notBefore(certificate)))"
        }
        return nil
    }

    /// How long the first certificate still counts; `nil` when it is none.
    ///
    /// - Parameter certificate: PEM.
    public static func secondsLeft(_ certificate: [UInt8]) -> Int64? {
        guard let leaf = read(certificate, { PEM_read_bio_X509($0, nil, nil, nil) }) else { return nil }
        defer { X509_free(leaf) }
        var (days, seconds): (Int32, Int32) = (0, 0)
        // Without a first time: from now.
        guard ASN1_TIME_diff(&days, &seconds, nil, X509_get0_notAfter(leaf)) == 1 else { return nil }
        return Int64(days) * 86_400 + Int64(seconds)
    }

    /// What is wrong with a file of authorities; `nil`: nothing.
    public static func fault(authority: [UInt8], named file: String) -> String? {
        guard let first = read(authority, { PEM_read_bio_X509($0, nil, nil, nil) }) else {
            return "\(file): is no certificate in PEM"
        }
        defer { X509_free(first) }
        guard X509_check_ca(first) > 0 else { return "\(file): is no certificate of an authority" }
        return nil
    }

    private static func read(_ bytes: [UInt8], _ body: (OpaquePointer) -> OpaquePointer?) -> OpaquePointer? {
        bytes.withUnsafeBytes { buffer in
            guard let memory = BIO_new_mem_buf(buffer.baseAddress, Int32(buffer.count)) else { return nil }
            defer { BIO_free(memory) }
            return body(memory)
        }
    }

    private static func text(_ time: UnsafePointer<ASN1_TIME>?) -> String {
        printed { _ = ASN1_TIME_print($0, time) }
    }

    /// What OpenSSL prints, as one line of at most 200 characters of ASCII: a stranger's certificate may say anything.
    static func printed(_ print: (OpaquePointer) -> Void) -> String {
        guard let memory = BIO_new(BIO_s_mem()) else { return "?" }
        defer { BIO_free(memory) }
        print(memory)
        var buffer = [UInt8](repeating: 0, count: 200)
        let count = BIO_read(memory, &buffer, Int32(buffer.count))
        let line = buffer.prefix(max(0, Int(count))).map { (0x20..<0x7f).contains($0) ? $0 : UInt8(ascii: "?") }
        return String(decoding: line, as: UTF8.self)
    }
}
