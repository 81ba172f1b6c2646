internal import CMosquitto
internal import Glibc

/// A property list of MQTT 5 (§2.2.2) that frees itself.
final class PropertyList {
    /// The longest text or binary value (MQTT 5 §1.5.4, §1.5.6).
    static let lengthMax = 65_535

    private(set) var list: OpaquePointer?

    init(of publication: Publication) throws(BusError) {
        if let text = publication.contentType {
            try add(mosquitto_property_add_string(&list, MQTT_PROP_CONTENT_TYPE.rawValue.signed, text))
        }
        if let text = publication.responseTopic {
            try add(mosquitto_property_add_string(&list, MQTT_PROP_RESPONSE_TOPIC.rawValue.signed, text))
        }
        if let data = publication.correlationData {
            guard data.count <= PropertyList.lengthMax else {
                throw BusError(
                    operation: "add a property", reason: "correlation data are at most \(PropertyList.lengthMax) bytes")
            }
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

    /// Why the library or the broker would refuse a publication, whatever its size; `nil` when they take it.
    static func defect(of publication: Publication) -> String? {
        let topic = publication.topic
        guard !topic.isEmpty, isText(topic), mosquitto_pub_topic_check2(topic, topic.utf8.count) == 0 else {
            return "the topic is not one of MQTT"
        }
        guard publication.correlationData?.count ?? 0 <= lengthMax else { return "the correlation data are too long" }
        guard publication.responseTopic.map(isText) ?? true else { return "the response topic is not text of MQTT" }
        guard publication.contentType.map(isText) ?? true else { return "the content type is not text of MQTT" }
        for (name, value) in publication.userProperties where !isText(name) || !isText(value) {
            return "a user property is not text of MQTT"
        }
        return nil
    }

    /// Without control characters, which the library refuses as MQTT 5 §1.5.4 allows, and not too long.
    private static func isText(_ text: String) -> Bool {
        let length = text.utf8.count
        return length <= lengthMax && (length == 0 || mosquitto_validate_utf8(text, Int32(length)) == 0)
    }

    static func limits(_ list: OpaquePointer) -> BrokerLimits {
        var limits = BrokerLimits()
        var bytes: UInt32 = 0
        if mosquitto_property_read_int32(list, MQTT_PROP_MAXIMUM_PACKET_SIZE.rawValue.signed, &bytes, false) != nil {
            limits.packetBytesMax = Int(bytes)
        }
        var count: UInt16 = 0
        if mosquitto_property_read_int16(list, MQTT_PROP_RECEIVE_MAXIMUM.rawValue.signed, &count, false) != nil {
            limits.receiveMaximum = Int(count)
        }
        return limits
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
