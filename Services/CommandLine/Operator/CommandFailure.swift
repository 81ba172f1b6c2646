internal import API
internal import ServiceHost

/// Why a subcommand does not end with status 0.
enum CommandFailure: Error {
    /// The arguments are wrong; nothing was sent.
    case usage(String)
    /// The broker is not there, or does not let us in.
    case unreachable(String)
    /// The answer was a problem.
    case refused(Refusal)
    case failed(String)

    var reason: String {
        switch self {
        case .usage(let reason), .unreachable(let reason), .failed(let reason): reason
        case .refused(let refusal): refusal.text
        }
    }

    var status: Int32 {
        switch self {
        case .usage: ExitStatus.usage
        case .unreachable: ExitStatus.unreachable
        case .refused(let refusal): refusal.status
        case .failed: ExitStatus.failed
        }
    }
}

/// A problem (RFC 9457) as it came; a type that this program does not know is shown all the same.
struct Refusal: Hashable {
    let payload: [UInt8]
    private let value: JSONValue

    init(payload: [UInt8]) {
        self.payload = payload
        // What is not JSON has no members to show, and is shown whole.
        value = (try? JSON.decode(JSONValue.self, from: payload)) ?? .string(String(decoding: payload, as: UTF8.self))
    }

    init(_ problem: Problem) {
        self.init(payload: JSON.bytes(problem))
    }

    var type: String { value["type"]?.string ?? "refused" }

    /// Nobody answered, or who should could not.
    var isUnavailable: Bool { type == Problem.Kind.unavailable.rawValue }

    /// 2 when the request itself is wrong, 1 when it was refused.
    var status: Int32 {
        let isOurFault = type == Problem.Kind.invalidRequest.rawValue || type == Problem.Kind.tooLarge.rawValue
        return isOurFault ? ExitStatus.usage : ExitStatus.failed
    }

    /// For people: the type and what is wrong, then each member that is.
    var text: String {
        let detail = value["detail"]?.string ?? value["title"]?.string ?? value.string ?? ""
        let errors = value["errors"]?.array ?? []
        // Who is unknown is said by the type already.
        let isUnknown = errors.count == 1 && type.hasPrefix("unknown-")
        var lines = ["\(type): \((isUnknown ? errors[0]["detail"]?.string : nil) ?? detail)"]
        for error in errors {
            guard let member = error["member"]?.string, let reason = error["detail"]?.string else { continue }
            if errors.count == 1, detail == reason || detail == "\(member): \(reason)" { continue }
            lines.append("  \(member.isEmpty ? "request" : member): \(reason)")
        }
        return lines.map(Printable.text).joined(separator: "\n")
    }
}
