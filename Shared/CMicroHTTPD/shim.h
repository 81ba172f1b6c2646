#include <microhttpd.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

// Starting and asking are variadic in C; Swift does not import variadic functions.
static inline struct MHD_Daemon *rollcall_http_start(unsigned int flags, MHD_AccessHandlerCallback handler, void *context,
                                                     struct MHD_OptionItem *options) {
    return MHD_start_daemon(flags, 0, NULL, NULL, handler, context, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}
static inline int rollcall_http_epoll(struct MHD_Daemon *daemon) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return info ? info->epoll_fd : -1;
}
static inline int rollcall_http_socket(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}
// From the first byte of the request line to the end of the empty line.
static inline size_t rollcall_http_head_size(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info ? info->header_size : 0;
}
// The library asks for a client's certificate and leaves its verification to the program (gnutls_certificate_verify_peers(3)).
// 1 when it is a client's and leads to the authority that the server trusts, -1 when there is none, else 0.
static inline int rollcall_http_client_is_known(struct MHD_Connection *connection) {
    unsigned int status = ~0U;
    gnutls_typed_vdata_st purpose = {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT, 0};
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (!info) return 0;
    int result = gnutls_certificate_verify_peers((gnutls_session_t)info->tls_session, &purpose, 1, &status);
    if (result == GNUTLS_E_NO_CERTIFICATE_FOUND) return -1;
    return result == 0 && status == 0;
}
