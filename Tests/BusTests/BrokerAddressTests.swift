import Bus
import Model
import Testing

@Suite struct BrokerAddressTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let text: String
        let endpoint: BrokerAddress.Endpoint
        var username: String?
        var password: String?
        var testDescription: String { text }
    }

    @Test(arguments: [
        Case(text: "mqtt://localhost", endpoint: .tcp(host: "localhost", port: 1_883, isEncrypted: false)),
        Case(text: "mqtt://localhost/", endpoint: .tcp(host: "localhost", port: 1_883, isEncrypted: false)),
        Case(text: "mqtts://broker.example", endpoint: .tcp(host: "broker.example", port: 8_883, isEncrypted: true)),
        Case(text: "mqtt://10.0.0.1:2883", endpoint: .tcp(host: "10.0.0.1", port: 2_883, isEncrypted: false)),
        Case(text: "mqtt://[::1]", endpoint: .tcp(host: "::1", port: 1_883, isEncrypted: false)),
        Case(text: "mqtt://[fe80::1]:99/", endpoint: .tcp(host: "fe80::1", port: 99, isEncrypted: false)),
        Case(text: "mqtt://ada@h", endpoint: .tcp(host: "h", port: 1_883, isEncrypted: false), username: "ada"),
        Case(
            text: "mqtt://ada:@h", endpoint: .tcp(host: "h", port: 1_883, isEncrypted: false), username: "ada",
            password: ""),
        Case(
            text: "mqtt://gw%2Fa1:p%40ss%3A%c3%a4@[::1]:5", endpoint: .tcp(host: "::1", port: 5, isEncrypted: false),
            username: "gw/a1", password: "p@ss:ä"),
        Case(
            text: "mqtt://ada:a@b:c@h:7", endpoint: .tcp(host: "h", port: 7, isEncrypted: false), username: "ada",
            password: "a@b:c"),
        Case(text: "unix:/run/b.sock", endpoint: .unix(path: "/run/b.sock")),
        Case(text: "unix:b.sock", endpoint: .unix(path: "b.sock")),
        Case(text: "unix:///run/b.sock", endpoint: .unix(path: "/run/b.sock")),
        Case(text: "unix:///run/a@b/c.sock", endpoint: .unix(path: "/run/a@b/c.sock")),
        Case(text: "unix:/run/a@b/c.sock", endpoint: .unix(path: "/run/a@b/c.sock")),
        Case(
            text: "unix://gw%2Fa1:s%20t@/run/b.sock", endpoint: .unix(path: "/run/b.sock"), username: "gw/a1",
            password: "s t"),
    ])
    func isParsed(_ example: Case) throws {
        let address = try BrokerAddress(parsing: example.text)
        #expect(
            address
                == BrokerAddress(endpoint: example.endpoint, username: example.username, password: example.password))
        // What is handed to a child process means the same.
        #expect(try BrokerAddress(parsing: address.withCredentials) == address)
        if let password = address.password, !password.isEmpty { #expect(!address.description.contains(password)) }
    }

    @Test(arguments: [
        "", "localhost", "http://h", "mqtt://", "mqtt://:1883", "mqtt://h:", "mqtt://h:0", "mqtt://h:65536",
        "mqtt://h:+1",
        "mqtt://h:x", "mqtt://h/path", "mqtt://ada:secret@", "mqtt://ada:secret@h:x", "mqtt://ada:secret%2@h",
        "mqtt://ada:secret%zz@h", "mqtt://ada:secret%+f@h", "mqtt://ada:secret%ff@h", "mqtt://ada:secret%00@h",
        "mqtt://::1", "mqtt://ada:secret@fe80::1:99", "unix:", "unix://", "unix://ada:secret@",
        "unix:/" + String(repeating: "x", count: 107),
    ])
    func isRefusedWithoutTheSecret(_ text: String) throws {
        let error = #expect(throws: InvalidValue.self) { try BrokerAddress(parsing: text) }
        #expect(!"\(try #require(error))".contains("secret"))
    }

    @Test func theLongestSocketPathIsTaken() throws {
        let path = "/" + String(repeating: "x", count: BrokerAddress.unixPathLengthMax - 1)
        #expect(try BrokerAddress(parsing: "unix:" + path).endpoint == .unix(path: path))
    }
}
