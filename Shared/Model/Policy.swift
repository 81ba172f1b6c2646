/// What happens when an online agent falls silent.
public enum OnLapse: String, Codable, CaseIterable, Sendable {
    /// Start a new cycle (action `recover`).
    case wake
    /// Mark it offline at once.
    case offline
}

/// One setting of the policy: its name in JSON, and the same name in flags and environment variables.
public enum PolicySetting: String, CaseIterable, Sendable, CodingKey {
    case checkinDeadline = "checkin_deadline"
    case maxWakeAttempts = "max_wake_attempts"
    case heartbeatInterval = "heartbeat_interval"
    case offlineAfter = "offline_after"
    case onLapse = "on_lapse"
    case lostGrace = "lost_grace"
    case startupExtensionMax = "startup_extension_max"
    case recoverBackoff = "recover_backoff"
    case recoverBackoffMax = "recover_backoff_max"
    case wakeRate = "wake_rate"
    case heartbeatRate = "heartbeat_rate"
}

/// How agents are supervised: every setting has a value.
public struct Policy: Hashable, Sendable {
    public var checkinDeadline = DurationText(30, .seconds)
    public var maxWakeAttempts = 3
    public var heartbeatInterval = DurationText(60, .seconds)
    public var offlineAfter = DurationText(10, .minutes)
    public var onLapse = OnLapse.wake
    public var lostGrace = DurationText(10, .seconds)
    public var startupExtensionMax = DurationText(5, .minutes)
    public var recoverBackoff = DurationText(10, .seconds)
    public var recoverBackoffMax = DurationText(5, .minutes)
    public var wakeRate = Rate(perSecond: 50)
    public var heartbeatRate = Rate(perSecond: 10)

    public static let attemptsAllowed = 1...100
    /// Heartbeats accepted at once above `heartbeat_rate`.
    public static let heartbeatBurst = 20

    public init() {}

    /// How long the `recover` cycle waits that follows so many others in a row: the first for nothing, then twice as long each.
    public func recoveryWait(after recoveries: Int) -> TimeSpan {
        guard recoveries > 0 else { return .zero }
        let longest = recoverBackoffMax.span.milliseconds
        var wait = recoverBackoff.span.milliseconds
        for _ in 1..<min(recoveries, 63) where wait < longest { wait *= 2 }
        return TimeSpan(milliseconds: min(wait, longest))
    }

    /// This policy with the settings of `overrides` in place of its own.
    public func overridden(by overrides: PolicyOverrides) -> Policy {
        var policy = self
        if let value = overrides.checkinDeadline { policy.checkinDeadline = value }
        if let value = overrides.maxWakeAttempts { policy.maxWakeAttempts = value }
        if let value = overrides.heartbeatInterval { policy.heartbeatInterval = value }
        if let value = overrides.offlineAfter { policy.offlineAfter = value }
        if let value = overrides.onLapse { policy.onLapse = value }
        if let value = overrides.lostGrace { policy.lostGrace = value }
        if let value = overrides.startupExtensionMax { policy.startupExtensionMax = value }
        if let value = overrides.recoverBackoff { policy.recoverBackoff = value }
        if let value = overrides.recoverBackoffMax { policy.recoverBackoffMax = value }
        if let value = overrides.wakeRate { policy.wakeRate = value }
        if let value = overrides.heartbeatRate { policy.heartbeatRate = value }
        return policy
    }
}

/// The settings that an agent or a gateway has of its own; what is `nil` comes from the next wider policy.
public struct PolicyOverrides: Hashable, Sendable {
    public var checkinDeadline: DurationText?
    public var maxWakeAttempts: Int?
    public var heartbeatInterval: DurationText?
    public var offlineAfter: DurationText?
    public var onLapse: OnLapse?
    public var lostGrace: DurationText?
    public var startupExtensionMax: DurationText?
    public var recoverBackoff: DurationText?
    public var recoverBackoffMax: DurationText?
    public var wakeRate: Rate?
    public var heartbeatRate: Rate?

    public init() {}

    public var isEmpty: Bool { self == PolicyOverrides() }

    /// Sets one setting from its text, as in a flag; `nil` removes it.
    public mutating func set(_ setting: PolicySetting, to text: String?) throws(InvalidValue) {
        switch setting {
        case .checkinDeadline: checkinDeadline = try PolicyOverrides.duration(text)
        case .heartbeatInterval: heartbeatInterval = try PolicyOverrides.duration(text)
        case .offlineAfter: offlineAfter = try PolicyOverrides.duration(text)
        case .lostGrace: lostGrace = try PolicyOverrides.duration(text)
        case .startupExtensionMax: startupExtensionMax = try PolicyOverrides.duration(text)
        case .recoverBackoff: recoverBackoff = try PolicyOverrides.duration(text, mayBeZero: true)
        case .recoverBackoffMax: recoverBackoffMax = try PolicyOverrides.duration(text)
        case .maxWakeAttempts:
            guard let text else {
                maxWakeAttempts = nil
                return
            }
            guard let count = Int(text), Policy.attemptsAllowed.contains(count) else {
                throw InvalidValue("'\(text.prefix(40))' is not a number of attempts: an integer from 1 to 100")
            }
            maxWakeAttempts = count
        case .onLapse:
            guard let text else {
                onLapse = nil
                return
            }
            guard let value = OnLapse(rawValue: text) else {
                throw InvalidValue("'\(text.prefix(40))' is not one of wake, offline")
            }
            onLapse = value
        case .wakeRate: wakeRate = try PolicyOverrides.rate(text)
        case .heartbeatRate: heartbeatRate = try PolicyOverrides.rate(text)
        }
    }

    /// The text of one setting; `nil` when it is not set.
    public func text(of setting: PolicySetting) -> String? {
        switch setting {
        case .checkinDeadline: checkinDeadline?.description
        case .heartbeatInterval: heartbeatInterval?.description
        case .offlineAfter: offlineAfter?.description
        case .lostGrace: lostGrace?.description
        case .startupExtensionMax: startupExtensionMax?.description
        case .recoverBackoff: recoverBackoff?.description
        case .recoverBackoffMax: recoverBackoffMax?.description
        case .maxWakeAttempts: maxWakeAttempts.map(String.init)
        case .onLapse: onLapse?.rawValue
        case .wakeRate: wakeRate?.description
        case .heartbeatRate: heartbeatRate?.description
        }
    }

    private static func duration(_ text: String?, mayBeZero: Bool = false) throws(InvalidValue) -> DurationText? {
        guard let text else { return nil }
        return try DurationText(parsing: text, mayBeZero: mayBeZero)
    }

    private static func rate(_ text: String?) throws(InvalidValue) -> Rate? {
        guard let text else { return nil }
        return try Rate(parsing: text)
    }
}

/// A change of policy overrides: a setting that is absent stays, one that is `.some(nil)` is removed.
public struct PolicyPatch: Hashable, Sendable {
    public var settings: [PolicySetting: String?] = [:]

    public init(_ settings: [PolicySetting: String?] = [:]) {
        self.settings = settings
    }

    /// The overrides with this patch applied; every value has been checked by whoever made the patch.
    public func applied(to overrides: PolicyOverrides) throws(InvalidValue) -> PolicyOverrides {
        var result = overrides
        for (setting, text) in settings {
            try result.set(setting, to: text)
        }
        return result
    }
}

// MARK: - JSON

extension PolicyOverrides: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: PolicySetting.self)
        self.init()
        for setting in container.allKeys {
            do {
                try set(setting, to: try container.decodeSetting(setting))
            } catch let error as InvalidValue {
                throw DecodingError.dataCorruptedError(forKey: setting, in: container, debugDescription: error.reason)
            }
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: PolicySetting.self)
        for setting in PolicySetting.allCases {
            guard let text = text(of: setting) else { continue }
            if setting == .maxWakeAttempts {
                try container.encode(maxWakeAttempts, forKey: setting)
            } else {
                try container.encode(text, forKey: setting)
            }
        }
    }
}

extension PolicyPatch: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: PolicySetting.self)
        for setting in container.allKeys {
            settings[setting] = .some(try container.decodeSetting(setting))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: PolicySetting.self)
        for (setting, text) in settings {
            try container.encode(text, forKey: setting)
        }
    }
}

extension KeyedDecodingContainer<PolicySetting> {
    /// The text of a setting that is written as a string or, where it is a number, as an integer.
    fileprivate func decodeSetting(_ setting: PolicySetting) throws -> String? {
        if try decodeNil(forKey: setting) { return nil }
        // The usual type first: a failed attempt costs more than all the rest.
        if setting == .maxWakeAttempts, let count = try? decode(Int.self, forKey: setting) { return String(count) }
        if let text = try? decode(String.self, forKey: setting) { return text }
        return String(try decode(Int.self, forKey: setting))
    }
}

extension Policy: Codable {
    public init(from decoder: any Decoder) throws {
        self = Policy().overridden(by: try PolicyOverrides(from: decoder))
    }

    public func encode(to encoder: any Encoder) throws {
        try PolicyOverrides(all: self).encode(to: encoder)
    }
}

extension PolicyOverrides {
    /// Every setting of `policy`, as overrides.
    public init(all policy: Policy) {
        checkinDeadline = policy.checkinDeadline
        maxWakeAttempts = policy.maxWakeAttempts
        heartbeatInterval = policy.heartbeatInterval
        offlineAfter = policy.offlineAfter
        onLapse = policy.onLapse
        lostGrace = policy.lostGrace
        startupExtensionMax = policy.startupExtensionMax
        recoverBackoff = policy.recoverBackoff
        recoverBackoffMax = policy.recoverBackoffMax
        wakeRate = policy.wakeRate
        heartbeatRate = policy.heartbeatRate
    }
}
