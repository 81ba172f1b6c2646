#include <curl/curl.h>
#include <sys/epoll.h>

// Setting and asking are variadic in C; Swift does not import variadic functions.
static inline CURLcode rollcall_curl_set_number(CURL *transfer, CURLoption option, long value) {
    return curl_easy_setopt(transfer, option, value);
}
static inline CURLcode rollcall_curl_set_pointer(CURL *transfer, CURLoption option, const void *value) {
    return curl_easy_setopt(transfer, option, value);
}
static inline CURLcode rollcall_curl_set_writer(CURL *transfer, curl_write_callback writer) {
    return curl_easy_setopt(transfer, CURLOPT_WRITEFUNCTION, writer);
}
static inline long rollcall_curl_status(CURL *transfer) {
    long status = 0;
    curl_easy_getinfo(transfer, CURLINFO_RESPONSE_CODE, &status);
    return status;
}
static inline curl_off_t rollcall_curl_retry_after(CURL *transfer) {
    curl_off_t seconds = 0;
    curl_easy_getinfo(transfer, CURLINFO_RETRY_AFTER, &seconds);
    return seconds;
}
static inline CURLMcode rollcall_curl_set_socket_callback(CURLM *multi, curl_socket_callback callback, void *context) {
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, context);
    return curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, callback);
}
static inline CURLMcode rollcall_curl_set_timer_callback(CURLM *multi, curl_multi_timer_callback callback, void *context) {
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, context);
    return curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, callback);
}
