// MQTT 5 properties live in a header of their own that mosquitto.h does not include.
#include <mosquitto.h>
#include <mqtt_protocol.h>
