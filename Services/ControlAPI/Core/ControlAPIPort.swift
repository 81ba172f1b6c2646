public import API
public import Model
public import Wire

// What the core of control-api is told, and what it wants done.

public enum ControlAPIInput: Sendable {
    /// A new session at the broker: nothing is subscribed yet.
    case connected
    case subscribed
    case disconnected
    case requestReceived(HTTPRequest)
    /// Whoever asked has gone.
    case requestCancelled(id: Int)
    /// The owner of an agent has taken, or not, what was handed in.
    case heartbeatAnswered(HeartbeatAnswer)
    case commandAnswered(number: Int, payload: [UInt8], isProblem: Bool)
    /// The broker let this command not be published.
    case commandRefused(number: Int, reason: String)
    case eventsAnswered(number: Int, EventPage)
    /// The client of a stream has taken all that was written to it.
    case streamDrained(id: Int)
    /// The presence of any service.
    case presenceReceived(Presence)
    /// A presence was emptied: the name as in `SERVICE/INSTANCE`.
    case presenceCleared(String)
    /// How many messages the broker has dropped since its start.
    case brokerCounted(String, Int64)
    /// The operators' tokens, read anew.
    case tokensRead([OperatorToken])
    /// Five times a second.
    case ticked
}

public enum ControlAPIAction: Sendable {
    case subscribe
    case respond(id: Int, HTTPResponse)
    /// `streamDrained` follows each `write`, unless the client goes.
    case openStream(id: Int, headers: [HTTPResponse.Header])
    case write(id: Int, [UInt8])
    case endStream(id: Int)
    /// The answer names the number.
    case askEvents(EventQuestion, number: Int)
    /// On the agent's own topic, with the token that its sender brought.
    case handIn(AgentAddress, token: String, payload: [UInt8], HeartbeatAsker)
    /// The answer names the number.
    case command(
        verb: String, payload: [UInt8], number: Int, idempotencyKey: String?, traceparent: String?,
        ifMatch: String? = nil)
}
