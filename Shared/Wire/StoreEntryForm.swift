internal import API
internal import Lifecycle
internal import Model

// An entry as it is written: one object, a member for each of its changes.
extension StoreEntry: Codable {
    private enum Member: String, CodingKey {
        case state, event, tombstone, order, settledOrder, credential, gateway, removedGateway, gatewayEvent, boardPause
        case resumedBoard, answer, lastSeenUpdates, seen
        case intent = "intentRecord"
    }

    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: Member.self)
        func member<Value: Decodable>(_ name: Member, _ type: Value.Type = Value.self) throws -> Value? {
            try members.decodeIfPresent(type, forKey: name)
        }
        var entry = StoreEntry()
        try entry.addAgent(state: member(.state), event: member(.event), tombstone: member(.tombstone))
        try entry.add(member(.seen), StoreChange.seen)
        try entry.add(member(.lastSeenUpdates), StoreChange.lastSeen)
        try entry.add(member(.order), StoreChange.order)
        try entry.add(member(.settledOrder), StoreChange.settledOrder)
        try entry.add(member(.gatewayEvent), StoreChange.gatewayEvent)
        try entry.add(member(.gateway), StoreChange.gateway)
        try entry.add(member(.boardPause), StoreChange.boardPause)
        try entry.add(member(.resumedBoard), StoreChange.resumedBoard)
        try entry.add(member(.credential), StoreChange.credential)
        try entry.add(member(.removedGateway), StoreChange.removedGateway)
        try entry.add(member(.intent), StoreChange.intent)
        try entry.add(member(.answer), StoreChange.answer)
        self = entry
    }

    mutating func add<Value>(_ value: Value?, _ change: (Value) -> StoreChange) {
        if let value { append(change(value)) }
    }

    /// What an entry's members say of its agent.
    ///
    /// - Throws: when an agent is removed of which nothing else is said.
    mutating func addAgent(
        state: Carried<AgentState>?, event: AgentEventEntry?, tombstone: Tombstone?
    ) throws(JSONFault) {
        switch (state, event, tombstone) {
        case (nil, nil, nil): break
        case (let state?, let event, nil): append(.agent(state, event))
        case (nil, let event?, nil): append(.event(event))
        case (let state?, let event?, let tombstone?): append(.removal(state, event, tombstone))
        case (_, _, .some): throw JSONFault("has a tombstone without a state or an event")
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var members = encoder.container(keyedBy: Member.self)
        for change in changes {
            switch change {
            case .agent(let state, let event):
                try members.encode(state, forKey: .state)
                try members.encodeIfPresent(event, forKey: .event)
            case .event(let event): try members.encode(event, forKey: .event)
            case .removal(let state, let event, let tombstone):
                try members.encode(state, forKey: .state)
                try members.encode(event, forKey: .event)
                try members.encode(tombstone, forKey: .tombstone)
            case .lastSeen(let updates): try members.encode(updates, forKey: .lastSeenUpdates)
            case .seen(let seen): try members.encode(seen, forKey: .seen)
            case .order(let order): try members.encode(order, forKey: .order)
            case .settledOrder(let agent): try members.encode(agent, forKey: .settledOrder)
            case .gateway(let gateway): try members.encode(gateway, forKey: .gateway)
            case .removedGateway(let gateway): try members.encode(gateway, forKey: .removedGateway)
            case .gatewayEvent(let event): try members.encode(event, forKey: .gatewayEvent)
            case .boardPause(let pause): try members.encode(pause, forKey: .boardPause)
            case .resumedBoard(let board): try members.encode(board, forKey: .resumedBoard)
            case .credential(let change): try members.encode(change, forKey: .credential)
            case .intent(let intent): try members.encode(intent, forKey: .intent)
            case .answer(let answer): try members.encode(answer, forKey: .answer)
            }
        }
    }
}
