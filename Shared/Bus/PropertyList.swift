internal import CMosquitto
internal import Glibc

/// A property list of MQTT 5 (§2.2.2) that frees itself.
final class PropertyList {
    private(set) var list: OpaquePointer?

    init(of publication: Publication) throws(BusError) {
        if let text = publication.contentType {
            try add(mosquitto_property_add_string(&list, MQTT_PROP_CONTENT_TYPE.rawValue.signed, text))
        }
        if let text = publication.responseTopic {
            try add(mosquitto_property_add_string(&list, MQTT_PROP_RESPONSE_TOPIC.rawValue.signed, text))
        }
        if let data = publication.correlationData {
            try add(
                mosquitto_property_add_binary(
                    &list, MQTT_PROP_CORRELATION_DATA.rawValue.signed, data, UInt16(data.count)))
        }
        if let seconds = publication.expirySeconds {
            try add(mosquitto_property_add_int32(&list, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL.rawValue.signed, seconds))
        }
        for (name, value) in publication.userProperties {
            try add(mosquitto_property_add_string_pair(&list, MQTT_PROP_USER_PROPERTY.rawValue.signed, name, value))
        }
    }

    deinit {
        mosquitto_property_free_all(&list)
    }

    /// Gives the list away.
    func release() {
        list = nil
    }

    private func add(_ code: Int32) throws(BusError) {
        guard code != MOSQ_ERR_SUCCESS.rawValue.signed else { return }
        throw BusError(operation: "add a property", reason: Handle.text(code))
    }

    static func read(_ list: OpaquePointer, into delivery: inout Delivery) {
        delivery.contentType = string(list, MQTT_PROP_CONTENT_TYPE.rawValue.signed)
        delivery.responseTopic = string(list, MQTT_PROP_RESPONSE_TOPIC.rawValue.signed)
        var value: UnsafeMutableRawPointer?
        var length: UInt16 = 0
        if mosquitto_property_read_binary(list, MQTT_PROP_CORRELATION_DATA.rawValue.signed, &value, &length, false)
            != nil
        {
            delivery.correlationData = [UInt8](UnsafeRawBufferPointer(start: value, count: Int(length)))
            free(value)
        }
        var name: UnsafeMutablePointer<CChar>?
        var text: UnsafeMutablePointer<CChar>?
        var property = mosquitto_property_read_string_pair(
            list, MQTT_PROP_USER_PROPERTY.rawValue.signed, &name, &text, false)
        while let found = property, let nameCopy = name, let textCopy = text {
            delivery.userProperties.append((String(cString: nameCopy), String(cString: textCopy)))
            free(nameCopy)
            free(textCopy)
            property = mosquitto_property_read_string_pair(
                found, MQTT_PROP_USER_PROPERTY.rawValue.signed, &name, &text, true)
        }
    }

    private static func string(_ list: OpaquePointer, _ identifier: Int32) -> String? {
        var value: UnsafeMutablePointer<CChar>?
        guard mosquitto_property_read_string(list, identifier, &value, false) != nil, let copy = value else {
            return nil
        }
        defer { free(copy) }
        return String(cString: copy)
    }
}
