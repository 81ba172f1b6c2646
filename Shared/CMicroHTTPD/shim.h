#include <microhttpd.h>
#include <gnutls/gnutls.h>

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
// The library asks for a client's certificate and leaves its verification to the program (gnutls_certificate_verify_peers2(3)).
// 1 when it leads to the authority that the server trusts.
static inline int rollcall_http_client_is_known(struct MHD_Connection *connection) {
    unsigned int status = ~0U;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return info && gnutls_certificate_verify_peers2((gnutls_session_t)info->tls_session, &status) == 0 && status == 0;
}
