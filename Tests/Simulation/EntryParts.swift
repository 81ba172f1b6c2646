import Lifecycle
import Model
import Wire

// What the oracle asks of an entry.
extension StoreEntry {
    /// The state that an agent is left in, with what has happened to it.
    var agent: (state: AgentState, event: AgentEventEntry?)? {
        for change in changes {
            switch change {
            case .agent(let state, let event): return state.value.map { ($0, event) }
            case .removal(let state, let event, _): return state.value.map { ($0, event) }
            default: continue
            }
        }
        return nil
    }

    var event: AgentEventEntry? {
        for case .event(let event) in changes { return event }
        return agent?.event
    }

    var order: WakeOrder? {
        for case .order(let order) in changes { return order.value }
        return nil
    }
}
