import BrokerAccessCore
import Testing

/// A digest that stands for a secret: its number, 32 times.
func secret(_ number: UInt8) -> SecretDigest {
    SecretDigest(bytes: [UInt8](repeating: number, count: 32).span)!
}

func name(_ text: String) -> Username { Username(text)! }

func at(_ second: Int) -> Moment { Moment(steady: second, wall: 1_000_000 + second) }

extension Identities {
    /// Agents and gateways that all have secret 1.
    init(_ names: String...) {
        self.init()
        for text in names { _ = apply(.set(name(text), secret(1)), at: at(0)) }
        hasWithdrawn = false
    }
}

@Suite("The identity table")
struct IdentityTableTests {
    @Test("finds what was set, and not what was removed, like a dictionary")
    func likeADictionary() {
        var table = IdentityTable()
        var model: [Username: SecretDigest] = [:]
        var random = SystemRandomNumberGenerator()
        for _ in 0..<40_000 {
            let username = name(
                "gw\(Int.random(in: 0..<30, using: &random))/a\(Int.random(in: 0..<60, using: &random))")
            if Int.random(in: 0..<5, using: &random) < 3 {
                let digest = secret(UInt8.random(in: 0...255, using: &random))
                table.set(username, digest)
                model[username] = digest
            } else {
                #expect(table.remove(username) == (model.removeValue(forKey: username) != nil))
            }
        }
        #expect(table.count == model.count)
        for (username, digest) in model { #expect(table.digest(of: username) == digest) }
        var visited = 0
        table.visit { bytes, digest in
            visited += 1
            let username = Username(String(decoding: bytes, as: UTF8.self))
            #expect(username.map { model[$0] } == digest)
        }
        #expect(visited == model.count)
    }

    @Test("a digest is 64 hexadecimal digits", arguments: ["", "ab", String(repeating: "g", count: 64)])
    func hexadecimal(text: String) {
        #expect(SecretDigest(hexadecimal: text) == nil)
        #expect(SecretDigest(hexadecimal: String(repeating: "aB", count: 32)) == secret(0xAB))
    }
}

@Suite("Identities")
struct IdentitiesTests {
    @Test("a set secret is the only one from then on")
    func set() {
        var identities = Identities("gw1/a1")
        #expect(identities.apply(.set(name("gw1/a1"), secret(2)), at: at(0)) == .set(name("gw1/a1"), secret(2)))
        #expect(identities.verify(name("gw1/a1"), secret(1), at: at(0)) == .wrongSecret)
        #expect(identities.verify(name("gw1/a1"), secret(2), at: at(0)) == .accepted)
        #expect(identities.verify(name("gw1/a2"), secret(2), at: at(0)) == .unknownUsername)
        #expect(identities.hasWithdrawn)
    }

    @Test("a repeat of a change is nothing new")
    func repeats() {
        var identities = Identities("gw1")
        #expect(identities.apply(.set(name("gw1"), secret(1)), at: at(0)) == nil)
        #expect(identities.apply(.remove(name("gw2")), at: at(0)) == nil)
        #expect(!identities.hasWithdrawn)
        #expect(identities.apply(.overlap(name("gw1"), secret(2), seconds: 10), at: at(0)) != nil)
        #expect(identities.apply(.overlap(name("gw1"), secret(2), seconds: 10), at: at(5)) == nil)
        #expect(!identities.accepts(name("gw1"), secret(1), at: at(10)), "the repeat did not lengthen it")
    }

    @Test("an overlap ends with the first use of the new secret")
    func firstUse() {
        var identities = Identities("gw1")
        let entry = identities.apply(.overlap(name("gw1"), secret(2), seconds: 10), at: at(0))
        #expect(entry == .overlap(name("gw1"), new: secret(2), old: secret(1), until: 1_000_010))
        #expect(identities.verify(name("gw1"), secret(1), at: at(9)) == .accepted)
        #expect(identities.verify(name("gw1"), secret(2), at: at(9)) == .acceptedNewSecret)
        #expect(identities.verify(name("gw1"), secret(1), at: at(9)) == .wrongSecret)
        #expect(identities.verify(name("gw1"), secret(2), at: at(9)) == .accepted)
    }

    @Test("an overlap ends with its time")
    func timeOver() {
        var identities = Identities("gw1")
        _ = identities.apply(.overlap(name("gw1"), secret(2), seconds: 10), at: at(0))
        identities.hasWithdrawn = false
        identities.expireOverlaps(at: at(9))
        #expect(!identities.hasWithdrawn)
        #expect(!identities.accepts(name("gw1"), secret(1), at: at(10)))
        identities.expireOverlaps(at: at(10))
        #expect(identities.hasWithdrawn)
        #expect(identities.accepts(name("gw1"), secret(2), at: at(10)))
    }

    @Test("a new secret minted again replaces the one never used, and the old one still works")
    func mintedAgain() {
        var identities = Identities("gw1")
        _ = identities.apply(.overlap(name("gw1"), secret(2), seconds: 10), at: at(0))
        _ = identities.apply(.overlap(name("gw1"), secret(3), seconds: 10), at: at(5))
        #expect(identities.accepts(name("gw1"), secret(1), at: at(14)))
        #expect(!identities.accepts(name("gw1"), secret(2), at: at(5)))
        #expect(identities.accepts(name("gw1"), secret(3), at: at(5)))
    }

    @Test("a begun table counts from its commit")
    func table() {
        var identities = Identities("gw1", "gw2")
        _ = identities.apply(.begin, at: at(0))
        _ = identities.apply(.set(name("gw3"), secret(1)), at: at(0))
        #expect(!identities.contains(name("gw3")))
        _ = identities.apply(.remove(name("gw2")), at: at(0))
        #expect(!identities.contains(name("gw2")), "a removal does not wait")
        _ = identities.apply(.commit, at: at(0))
        #expect(identities.contains(name("gw3")))
        #expect(!identities.contains(name("gw1")))
        #expect(identities.mintedCount == 1)
    }

    @Test("a commit keeps an overlap whose new secret it confirms, and ends any other")
    func overlapAcrossCommit() {
        var identities = Identities("gw1", "gw2")
        _ = identities.apply(.overlap(name("gw1"), secret(2), seconds: 10), at: at(0))
        _ = identities.apply(.overlap(name("gw2"), secret(2), seconds: 10), at: at(0))
        for change in [.begin, .set(name("gw1"), secret(2)), .set(name("gw2"), secret(3)), .commit] as [IdentityChange]
        {
            _ = identities.apply(change, at: at(0))
        }
        #expect(identities.accepts(name("gw1"), secret(1), at: at(1)))
        #expect(!identities.accepts(name("gw2"), secret(1), at: at(1)))
        #expect(identities.accepts(name("gw2"), secret(3), at: at(1)))
    }

    /// The table as the store sends it: `gw1` had secret 1, has 2 and then 3, of a rotation each, 8 s before the end.
    private func resend(to identities: inout Identities, at second: Int) {
        for change in [
            .begin, .set(name("gw1"), secret(1)), .overlap(name("gw1"), secret(2), seconds: 8),
            .overlap(name("gw1"), secret(3), seconds: 8), .commit,
        ] as [IdentityChange] { _ = identities.apply(change, at: at(second)) }
    }

    private func works(_ identities: Identities, _ number: UInt8, at second: Int) -> Bool {
        identities.accepts(name("gw1"), secret(number), at: at(second))
    }

    @Test("a table brings the overlap of a rotation that the broker never heard of")
    func overlapLost() {
        var identities = Identities("gw1")
        resend(to: &identities, at: 0)
        #expect(works(identities, 1, at: 7) && works(identities, 3, at: 7))
        #expect(!works(identities, 1, at: 8) && !works(identities, 2, at: 7))
        #expect(identities.apply(.overlap(name("gw1"), secret(3), seconds: 600), at: at(2)) == nil)
        #expect(identities.verify(name("gw1"), secret(3), at: at(3)) == .acceptedNewSecret)
        #expect(!works(identities, 1, at: 3))
    }

    @Test("a table brings overlaps to a broker that forgot all, or knows a secret of long ago", arguments: [0, 9])
    func overlapForgotten(_ known: UInt8) {
        var identities = Identities()
        if known > 0 { _ = identities.apply(.set(name("gw1"), secret(known)), at: at(0)) }
        resend(to: &identities, at: 0)
        #expect(works(identities, 1, at: 7) && works(identities, 3, at: 7) && !works(identities, 1, at: 8))
        #expect(!works(identities, 9, at: 1), "what was withdrawn is not taken again")
    }

    @Test("a table changes no overlap that the broker knows: one that is over stays over")
    func overlapSeen() {
        var identities = Identities("gw1")
        _ = identities.apply(.overlap(name("gw1"), secret(2), seconds: 10), at: at(0))
        _ = identities.apply(.overlap(name("gw1"), secret(3), seconds: 10), at: at(1))
        resend(to: &identities, at: 5)
        #expect(works(identities, 1, at: 10) && !works(identities, 1, at: 11))
        #expect(identities.verify(name("gw1"), secret(3), at: at(6)) == .acceptedNewSecret)
        resend(to: &identities, at: 7)
        #expect(!works(identities, 1, at: 7) && works(identities, 3, at: 7))
    }

    @Test("the secret in use is the old one, also when the broker learns by a table of the one after it")
    func overlapInUse() {
        var identities = Identities("gw1")
        _ = identities.apply(.overlap(name("gw1"), secret(2), seconds: 10), at: at(0))
        #expect(identities.verify(name("gw1"), secret(2), at: at(1)) == .acceptedNewSecret)
        resend(to: &identities, at: 2)
        #expect(works(identities, 2, at: 9) && works(identities, 3, at: 9) && !works(identities, 1, at: 2))

        var unused = Identities("gw1")
        _ = unused.apply(.overlap(name("gw1"), secret(2), seconds: 10), at: at(0))
        resend(to: &unused, at: 2)
        #expect(works(unused, 1, at: 9) && works(unused, 3, at: 9) && !works(unused, 2, at: 2))
    }

    @Test("the store is told which new secrets were used, and again when its table does not know")
    func used() {
        func told(_ identities: inout Identities) -> [String] {
            identities.takeUsed().map { String(decoding: $0, as: UTF8.self) }
        }
        let line = "gw1 " + String(repeating: "03", count: 32) + "\n"
        var identities = Identities("gw1")
        resend(to: &identities, at: 0)
        _ = identities.verify(name("gw1"), secret(1), at: at(1))
        #expect(told(&identities).isEmpty)
        _ = identities.verify(name("gw1"), secret(3), at: at(1))
        #expect(told(&identities) == [line] && told(&identities).isEmpty)
        _ = identities.verify(name("gw1"), secret(3), at: at(1))
        #expect(told(&identities).isEmpty)
        resend(to: &identities, at: 2)
        #expect(told(&identities) == [line])

        _ = identities.apply(.begin, at: at(3))
        for number in 0..<100 {
            _ = identities.apply(.set(name("gw/a\(number)"), secret(1)), at: at(3))
            _ = identities.apply(.overlap(name("gw/a\(number)"), secret(2), seconds: 9), at: at(3))
        }
        _ = identities.apply(.commit, at: at(3))
        for number in 0..<100 { _ = identities.verify(name("gw/a\(number)"), secret(2), at: at(3)) }
        let pieces = identities.takeUsed(pieceBytes: 1_000)
        #expect(pieces.count > 5 && pieces.allSatisfy { $0.count < 1_100 })
        #expect(pieces.joined().count { $0 == UInt8(ascii: "\n") } == 100)
    }

    @Test("a begun table gives nobody a secret before its commit, and a set in it ends the overlap before it")
    func overlapBegun() {
        var identities = Identities("gw1")
        for change in [
            .begin, .set(name("gw1"), secret(1)), .overlap(name("gw1"), secret(2), seconds: 8),
        ] as [IdentityChange] { _ = identities.apply(change, at: at(0)) }
        #expect(works(identities, 1, at: 0) && !works(identities, 2, at: 0))
        _ = identities.apply(.set(name("gw1"), secret(3)), at: at(0))
        _ = identities.apply(.commit, at: at(0))
        #expect(works(identities, 3, at: 0) && !works(identities, 1, at: 0) && !works(identities, 2, at: 0))
    }

    @Test("a commit needs a begin")
    func commitNeedsBegin() {
        var identities = Identities()
        #expect(!identities.canApply([.commit]))
        #expect(!identities.canApply([.begin, .commit, .commit]))
        #expect(identities.canApply([.begin, .commit]))
        _ = identities.apply(.begin, at: at(0))
        #expect(identities.canApply([.commit]))
    }

    @Test("a state file tells a restarted broker everything, whatever its steady clock says")
    func stateFile() throws {
        var identities = Identities("gw1", "gw1/a1", "gw2")
        _ = identities.apply(.overlap(name("gw2"), secret(2), seconds: 10), at: at(0))
        var file: [UInt8] = []
        #expect(
            identities.writeState(at: at(4), pieceBytes: 100) { piece in
                file += piece
                return true
            })
        JournalEntry.remove(name("gw1/a1")).write(to: &file)
        JournalEntry.set(name("gw3"), secret(7)).write(to: &file)
        file += Array("set gw1 0101".utf8)

        var restored = Identities()
        func moment(_ second: Int) -> Moment { Moment(steady: second, wall: 1_000_005 + second) }
        try JournalEntry.forEach(in: file.span) { restored.restore($0, at: moment(0)) }
        #expect(restored.mintedCount == 3)
        #expect(restored.accepts(name("gw3"), secret(7), at: moment(0)))
        #expect(restored.accepts(name("gw1"), secret(1), at: moment(0)))
        #expect(restored.accepts(name("gw2"), secret(1), at: moment(4)))
        #expect(!restored.accepts(name("gw2"), secret(1), at: moment(5)))
    }
}

@Suite("Lines of text")
struct LineTests {
    private let digits = String(repeating: "07", count: 32)

    @Test("are the changes that the status store sends")
    func changes() throws {
        let text = "begin\nset gw1 \(digits)\n\n# comment\n  overlap gw1/a1 \(digits) 600\r\nremove gw2\ncommit"
        let expected: [IdentityChange] = [
            .begin, .set(name("gw1"), secret(7)), .overlap(name("gw1/a1"), secret(7), seconds: 600),
            .remove(name("gw2")),
            .commit,
        ]
        #expect(try IdentityChange.parse(text) == expected)
    }

    @Test(
        "are refused with their number when they make no sense, and never repeated in the error",
        arguments: [
            "set gw1", "set gw1 12", "set op:alice D", "set svc:a/1 D", "set gw1 D D", "remove", "remove #",
            "begin now",
            "overlap gw1 D", "overlap gw1 D 0", "overlap gw1 D 86401", "overlap gw1 D -1", "overlap gw1 D 1s",
            "Set gw1 D",
        ])
    func badChanges(line: String) {
        let text = "begin\n\n\(line.replacing("D", with: digits))\nset gw1"
        let error = #expect(throws: BadLine.self) { try IdentityChange.parse(text) }
        #expect(error?.number == 3)
        #expect(error?.description.contains(digits) == false)
    }

    @Test("are the administrator's identities")
    func fixed() throws {
        let table = try FixedIdentities.parse("# people\nop:alice \(digits)\n\nsvc:a/1 \(digits)\n")
        #expect(table.count == 2)
        #expect(table.digest(of: name("op:alice")) == secret(7))
    }

    @Test(
        "of which one that makes no sense refuses them all",
        arguments: ["op:alice", "op:alice 12", "gw1 D", "gw1/a1 D", "op:bob D", "op:alice D x"])
    func badFixed(line: String) {
        let text = "op:bob \(digits)\n\(line.replacing("D", with: digits))\n"
        let error = #expect(throws: BadLine.self) { _ = try FixedIdentities.parse(text) }
        #expect(error?.number == 2)
    }
}
