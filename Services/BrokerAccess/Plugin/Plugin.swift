internal import BrokerAccessCore
public import CMosquittoBroker

/// What the broker calls first: the version of the plugin interface that both know, 5 since mosquitto 2.0.
@_cdecl("mosquitto_plugin_version")
public func pluginVersion(_ count: Int32, _ versions: UnsafePointer<Int32>?) -> Int32 {
    UnsafeBufferPointer(start: versions, count: Int(count)).contains(MOSQ_PLUGIN_VERSION) ? MOSQ_PLUGIN_VERSION : -1
}

/// Reads options and identities and registers for the events. A failure stops the broker: it never runs unguarded.
@_cdecl("mosquitto_plugin_init")
public func pluginInit(
    _ identifier: OpaquePointer?, _ userData: UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
    _ options: UnsafeMutablePointer<mosquitto_opt>?, _ count: Int32
) -> Int32 {
    let plugin: AccessPlugin
    do throws(PluginOptions.Failure) {
        let options = try PluginOptions(options, count: Int(count))
        do throws(StartFailure) {
            plugin = try AccessPlugin(options: options)
        } catch {
            BrokerLog.error("access.start_failed", ["problem": error.problem])
            return Int32(MOSQ_ERR_INVAL.rawValue)
        }
    } catch {
        let option = "plugin_opt_\(error.option)"
        BrokerLog.error("access.start_failed", ["option": option, "problem": error.problem])
        return Int32(MOSQ_ERR_INVAL.rawValue)
    }
    let state = PluginState(plugin, identifier: identifier)
    let opaque = Unmanaged.passRetained(state).toOpaque()
    userData?.pointee = opaque
    return state.register(opaque)
}

/// The broker stops: nothing calls the plugin any more.
@_cdecl("mosquitto_plugin_cleanup")
public func pluginCleanup(
    _ userData: UnsafeMutableRawPointer?, _ options: UnsafeMutablePointer<mosquitto_opt>?, _ count: Int32
) -> Int32 {
    guard let userData else { return Int32(MOSQ_ERR_SUCCESS.rawValue) }
    let state = Unmanaged<PluginState>.fromOpaque(userData).takeRetainedValue()
    state.unregister()
    return Int32(MOSQ_ERR_SUCCESS.rawValue)
}

/// What the broker keeps for the plugin and hands to every callback.
private final class PluginState {
    let plugin: AccessPlugin
    let identifier: OpaquePointer?

    init(_ plugin: AccessPlugin, identifier: OpaquePointer?) {
        self.plugin = plugin
        self.identifier = identifier
    }

    func register(_ opaque: UnsafeMutableRawPointer) -> Int32 {
        for (event, callback) in callbacks {
            let code = ControlTopic.name.withCString { topic in
                mosquitto_callback_register(
                    identifier, Int32(event.rawValue), callback, event == MOSQ_EVT_CONTROL ? topic : nil, opaque)
            }
            guard code == MOSQ_ERR_SUCCESS.rawValue else {
                BrokerLog.error("access.start_failed", ["problem": "event \(event.rawValue) cannot be registered"])
                return code
            }
        }
        return Int32(MOSQ_ERR_SUCCESS.rawValue)
    }

    func unregister() {
        for (event, callback) in callbacks {
            _ = ControlTopic.name.withCString { topic in
                mosquitto_callback_unregister(
                    identifier, Int32(event.rawValue), callback, event == MOSQ_EVT_CONTROL ? topic : nil)
            }
        }
    }
}

private typealias Callback = @convention(c) (Int32, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Int32

private func plugin(_ opaque: UnsafeMutableRawPointer) -> AccessPlugin {
    Unmanaged<PluginState>.fromOpaque(opaque).takeUnretainedValue().plugin
}

private let callbacks: [(mosquitto_plugin_event, Callback)] = [
    (
        MOSQ_EVT_BASIC_AUTH,
        { _, event, state in
            guard let event, let state else { return Int32(MOSQ_ERR_AUTH.rawValue) }
            return plugin(state).authenticate(event.load(as: mosquitto_evt_basic_auth.self))
        }
    ),
    (
        MOSQ_EVT_ACL_CHECK,
        { _, event, state in
            guard let event, let state else { return Int32(MOSQ_ERR_ACL_DENIED.rawValue) }
            return plugin(state).check(event.load(as: mosquitto_evt_acl_check.self))
        }
    ),
    (
        MOSQ_EVT_MESSAGE,
        { _, event, state in
            guard let event, let state else { return Int32(MOSQ_ERR_ACL_DENIED.rawValue) }
            return plugin(state).checkMessage(&event.assumingMemoryBound(to: mosquitto_evt_message.self).pointee)
        }
    ),
    (
        MOSQ_EVT_DISCONNECT,
        { _, event, state in
            guard let event, let state else { return Int32(MOSQ_ERR_INVAL.rawValue) }
            plugin(state).disconnect(event.load(as: mosquitto_evt_disconnect.self))
            return Int32(MOSQ_ERR_SUCCESS.rawValue)
        }
    ),
    // A change of identities was applied when its publication was checked; this event only has to have a taker.
    (MOSQ_EVT_CONTROL, { _, _, _ in Int32(MOSQ_ERR_SUCCESS.rawValue) }),
    (
        MOSQ_EVT_RELOAD,
        { _, _, state in
            guard let state else { return Int32(MOSQ_ERR_INVAL.rawValue) }
            plugin(state).reload()
            return Int32(MOSQ_ERR_SUCCESS.rawValue)
        }
    ),
    (
        MOSQ_EVT_TICK,
        { _, _, state in
            guard let state else { return Int32(MOSQ_ERR_INVAL.rawValue) }
            plugin(state).tick()
            return Int32(MOSQ_ERR_SUCCESS.rawValue)
        }
    ),
]
