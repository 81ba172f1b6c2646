internal import CCrypto
internal import Glibc

/// The files that a client of TLS uses, all in PEM.
public struct TLSFiles: Hashable, Sendable {
    /// Whom it trusts instead of the system's authorities.
    public let authority: String?
    /// What it shows to a server that asks who it is, and the key of that: both or neither.
    public let certificate: String?
    public let key: String?

    public init(authority: String? = nil, certificate: String? = nil, key: String? = nil) {
        self.authority = authority
        self.certificate = certificate
        self.key = key
    }
}

/// A file cannot be used; as `/etc/x/ca.crt: is no certificate in PEM`.
public struct TLSFault: Error, Hashable, Sendable {
    public let reason: String
}

/// How a client connects to one server by TLS 1.2 or newer, and what was wrong when it could not: whose certificate, which file,
/// what OpenSSL's verification says. Belongs to the thread of its connection.
public final class TLSClient {
    /// Where Debian keeps the system's authorities.
    static let systemAuthorities = "/etc/ssl/certs"

    /// Why the newest handshake failed, or the server ended it.
    public private(set) var fault: String?

    private let context: OpaquePointer
    private let files: TLSFiles
    private let host: String
    /// The server asked for a certificate, and there is none.
    private var isAskedInVain = false

    /// The `SSL_CTX`, for a library that takes one; counted there.
    public var libraryContext: UnsafeMutableRawPointer { UnsafeMutableRawPointer(context) }

    /// - Parameter host: the name or address that the server's certificate must be for.
    public init(_ files: TLSFiles, host: String) throws(TLSFault) {
        guard let context = SSL_CTX_new(TLS_client_method()) else { throw TLSFault(reason: "OpenSSL has no TLS") }
        self.context = context
        self.files = files
        self.host = host
        SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
        // Less memory for each of many connections.
        SSL_CTX_ctrl(context, SSL_CTRL_MODE, Int(SSL_MODE_RELEASE_BUFFERS), nil)
        let expected = SSL_CTX_get0_param(context)
        if X509_VERIFY_PARAM_set1_ip_asc(expected, host) != 1 { X509_VERIFY_PARAM_set1_host(expected, host, 0) }
        try loadAuthorities()
        try loadCertificate()
        SSL_CTX_set_ex_data(context, 0, Unmanaged.passUnretained(self).toOpaque())
        setCallbacks()
    }

    deinit {
        SSL_CTX_free(context)
    }

    // MARK: Files

    private func loadAuthorities() throws(TLSFault) {
        guard let authority = files.authority else {
            SSL_CTX_load_verify_dir(context, TLSClient.systemAuthorities)
            return
        }
        try checkReadable(authority)
        guard SSL_CTX_load_verify_file(context, authority) == 1 else {
            throw TLSFault(reason: "\(authority): is no certificate in PEM")
        }
    }

    private func loadCertificate() throws(TLSFault) {
        guard let certificate = files.certificate, let key = files.key else { return }
        try checkReadable(certificate)
        guard SSL_CTX_use_certificate_chain_file(context, certificate) == 1 else {
            throw TLSFault(reason: "\(certificate): is no certificate in PEM")
        }
        try checkReadable(key)
        // Nobody is there to be asked for a passphrase.
        SSL_CTX_set_default_passwd_cb(context) { _, _, _, _ in 0 }
        ERR_clear_error()
        let isKey = SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1
        guard isKey || ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509 else {
            throw TLSFault(reason: "\(key): is no key in PEM without a passphrase")
        }
        guard isKey, SSL_CTX_check_private_key(context) == 1 else {
            throw TLSFault(reason: "\(key): is not the key of the certificate \(certificate)")
        }
        if let leaf = SSL_CTX_get0_certificate(context), let fault = Certificate.timeFault(of: leaf) {
            throw TLSFault(reason: "\(certificate): the certificate \(fault)")
        }
    }

    private func checkReadable(_ path: String) throws(TLSFault) {
        guard access(path, R_OK) == 0 else { throw TLSFault(reason: "\(path): \(String(cString: strerror(errno)))") }
    }

    // MARK: What goes wrong

    /// Each closure captures nothing and finds its client in the context.
    private func setCallbacks() {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER) { isSound, store in
            guard isSound == 0 else { return isSound }
            let connection = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
            if let store { TLSClient.of(connection.map(OpaquePointer.init))?.noteVerification(store) }
            return 0
        }
        SSL_CTX_set_client_cert_cb(context) { connection, _, _ in
            TLSClient.of(connection)?.isAskedInVain = true
            return 0
        }
        SSL_CTX_set_info_callback(context) { connection, kind, value in
            guard let client = TLSClient.of(connection) else { return }
            if kind == SSL_CB_READ_ALERT { client.noteAlert(value) }
            if kind == SSL_CB_CONNECT_EXIT, value <= 0 { client.noteError() }
        }
    }

    private static func of(_ connection: OpaquePointer?) -> TLSClient? {
        connection.flatMap { SSL_CTX_get_ex_data(SSL_get_SSL_CTX($0), 0) }
            .map { Unmanaged<TLSClient>.fromOpaque($0).takeUnretainedValue() }
    }

    private func noteVerification(_ store: OpaquePointer) {
        let code = X509_STORE_CTX_get_error(store)
        let trusted = files.authority ?? TLSClient.systemAuthorities
        guard let certificate = X509_STORE_CTX_get_current_cert(store) else { return }
        let name = Certificate.printed { X509_NAME_print_ex($0, X509_get_subject_name(certificate), 0, 0) }
        let whose =
            X509_STORE_CTX_get_error_depth(store) == 0 ? "the server's certificate" : "the authority's certificate"
        let what =
            switch code {
            case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
                "is not for \(host) but for \(TLSClient.names(of: certificate))"
            case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
                X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_SIGNATURE_FAILURE,
                X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
                "is from no authority that is trusted"
            default: Certificate.timeFault(of: certificate) ?? "does not count"
            }
        let verdict = String(cString: X509_verify_cert_error_string(Int(code)))
        fault = "\(whose) '\(name)' \(what): \(verdict); trusted: \(trusted)"
    }

    /// The names and addresses that a certificate is for.
    private static func names(of certificate: OpaquePointer) -> String {
        let index = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1)
        guard index >= 0 else { return "its subject" }
        return Certificate.printed { X509V3_EXT_print($0, X509_get_ext(certificate, index), 0, 0) }
    }

    /// What the server says when it ends the connection (RFC 8446 §6); without a certificate TLS 1.2 knows only a failed
    /// handshake.
    private func noteAlert(_ value: Int32) {
        let alert = value & 0xff
        guard alert != SSL_AD_CLOSE_NOTIFY, alert != SSL_AD_USER_CANCELLED else { return }
        let isRequired = alert == SSL_AD_CERTIFICATE_REQUIRED
        if isRequired || isAskedInVain && alert == SSL_AD_HANDSHAKE_FAILURE {
            fault = "the server requires a client certificate, and none is given"
        } else {
            let said = String(cString: SSL_alert_desc_string_long(value))
            fault =
                files.certificate.map { "the server does not accept the certificate \($0): \(said)" }
                ?? "the server ended the connection: \(said)"
        }
    }

    private func noteError() {
        let code = ERR_peek_last_error()
        guard fault == nil, code != 0, let reason = ERR_reason_error_string(code) else { return }
        fault = "the server does not speak TLS as we do: \(String(cString: reason))"
    }
}
