import Testing

@testable import RollcallSupervisor

struct OperatorEnvironmentTests {
    @Test func theFileThatAShellSources() {
        let environment = OperatorEnvironment(
            host: "127.0.0.1", mqttPort: 18_830, httpPort: 18_080, username: "op:admin", password: "s3-_cret",
            httpToken: "t0")
        #expect(
            environment.text == """
                export ROLLCALL_BROKER='mqtt://op%3Aadmin:s3-_cret@127.0.0.1:18830'
                export ROLLCALL_HOST='127.0.0.1'
                export ROLLCALL_MQTT_PORT='18830'
                export ROLLCALL_USERNAME='op:admin'
                export ROLLCALL_PASSWORD='s3-_cret'
                export ROLLCALL_HTTP='http://127.0.0.1:18080'
                export ROLLCALL_HTTP_TOKEN='t0'

                """)
    }

    @Test(arguments: [
        ("", "''"), ("plain", "'plain'"), ("a b", "'a b'"), ("$HOME `id` \\", "'$HOME `id` \\'"),
        ("it's", "'it'\\''s'"),
        ("'", "''\\'''"),
    ])
    func quotingForAShell(text: String, quoted: String) {
        #expect(OperatorEnvironment.quoted(text) == quoted)
    }
}
