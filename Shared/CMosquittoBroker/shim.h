// The broker exports these symbols to the plugins it loads: nothing is linked here.
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <mqtt_protocol.h>

// Swift cannot call variadic functions; a text is never used as a format.
static inline void rollcall_broker_log(int level, const char *text) {
    mosquitto_log_printf(level, "%s", text);
}
