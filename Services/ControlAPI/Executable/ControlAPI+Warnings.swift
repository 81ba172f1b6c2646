internal import API
internal import Bus
internal import Model
internal import Secrets
internal import ServiceHost

// What somebody has to see to, in its presence.
extension ControlAPI {
    /// How long before its end a certificate is to be renewed.
    private static let renewal = TimeSpan.seconds(14 * 86_400)

    func describe(_ presence: inout Presence) {
        var warnings = alerts?.warnings ?? []
        if let file = settings.tokens, !unreadableLines.isEmpty {
            let lines = unreadableLines.map(String.init).joined(separator: ", ")
            warnings.append(
                ServiceWarning(.tokensUnreadable, "\(file): not NAME SCOPE SHA256 [EXPIRES] in line \(lines)"))
        }
        if let certificate = settings.certificate, let end = certificateEnd, end < Clock.wallTime() + ControlAPI.renewal
        {
            warnings.append(ServiceWarning(.certificateExpiring, "\(certificate): the certificate ends on \(end)"))
        }
        if !warnings.isEmpty { presence.warnings = warnings }
    }
}
