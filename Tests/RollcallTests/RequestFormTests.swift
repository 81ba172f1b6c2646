import API
import ServiceHost
import Testing

@testable import RollcallOperator

/// Arguments on the left, the request as it is sent on the right.
struct RequestFormTests {
    struct Case: CustomTestStringConvertible {
        let form: RequestForm
        let arguments: String
        let request: String

        init(_ form: RequestForm, _ arguments: String, _ request: String) {
            self.form = form
            self.arguments = arguments
            self.request = request
        }

        var testDescription: String { "\(form.verb.rawValue) \(arguments)" }
    }

    static let cases: [Case] = [
        Case(.addGateway, "gw", #"{"gateway":"gw"}"#),
        Case(
            .addGateway, "gw --wake-rate 10/s --unset-policy on-lapse",
            #"{"gateway":"gw","policy":{"on_lapse":null,"wake_rate":"10/s"}}"#),
        Case(.removeGateway, "gw --force", #"{"force":true,"gateway":"gw"}"#),
        Case(.removeGateway, "gw --no-force", #"{"force":false,"gateway":"gw"}"#),
        Case(.gateways, "", "{}"),
        Case(.provision, "gw/a", #"{"agent":"gw/a"}"#),
        Case(
            .provision, "gw/a --role worker --board b --no-wake --var A=1 --var B=x=y --var C=",
            #"{"agent":"gw/a","board":"b","role":"worker","variables":{"A":"1","B":"x=y","C":""},"wake":false}"#),
        Case(
            .provision, "gw/a --checkin-deadline 1s --max-wake-attempts 5 --on-lapse offline --heartbeat-rate 0",
            #"{"agent":"gw/a","policy":{"checkin_deadline":"1s","heartbeat_rate":"0","max_wake_attempts":5,"on_lapse":"offline"}}"#
        ),
        Case(.provision, "gw/a --wake", #"{"agent":"gw/a","wake":true}"#),
        // What is wrong is sent: the service's refusal names the member.
        Case(.provision, "nowhere --role boss", #"{"agent":"nowhere","role":"boss"}"#),
        Case(.provision, "gw/a --max-wake-attempts many", #"{"agent":"gw/a","policy":{"max_wake_attempts":"many"}}"#),
        Case(
            .update, "gw/a --unset-policy checkin-deadline --unset-policy max_wake_attempts --unset-var K --var L=1",
            #"{"agent":"gw/a","policy":{"checkin_deadline":null,"max_wake_attempts":null},"variables":{"K":null,"L":"1"}}"#
        ),
        Case(.wake, "gw/a", #"{"agent":"gw/a"}"#),
        Case(.delete, "gw/a", #"{"agent":"gw/a"}"#),
        Case(.rotateToken, "gw/a", #"{"agent":"gw/a"}"#),
        Case(.rotateToken, "gw --now", #"{"gateway":"gw","now":true}"#),
        Case(.rotateToken, "--gateway gw", #"{"gateway":"gw"}"#),
        Case(.pause, "gw/a --until 2026-01-31T09:05:07Z", #"{"agent":"gw/a","until":"2026-01-31T09:05:07Z"}"#),
        Case(.pause, "--gateway gw", #"{"gateway":"gw"}"#),
        Case(.pause, "gw", #"{"agent":"gw"}"#),
        Case(.resume, "--board b", #"{"board":"b"}"#),
        Case(
            .syncTemplates, "gw --no-include-main --lead-only --no-overwrite --no-wake --board b",
            #"{"board":"b","gateway":"gw","include_main":false,"lead_only":true,"overwrite":false,"wake":false}"#),
        Case(
            .agents, "--gateway gw --board b --role lead --status online --stale-templates --after gw/a --limit 5",
            #"{"after":"gw/a","board":"b","gateway":"gw","limit":5,"role":"lead","stale_templates":true,"status":"online"}"#
        ),
        Case(.agents, "--status online,offline", #"{"status":["online","offline"]}"#),
        Case(.history, "", "{}"),
        Case(.history, "--gateway gw --since 2026-01-31", #"{"gateway":"gw","since":"2026-01-31"}"#),
        Case(.history, "gw/a --before 17 --limit x", #"{"agent":"gw/a","before":"17","limit":"x"}"#),
        Case(.summary, "--gateway gw", #"{"gateway":"gw"}"#),
    ]

    @Test(arguments: cases)
    func argumentsBecomeTheRequest(_ test: Case) throws {
        #expect(try request(test.form, test.arguments) == test.request)
    }

    @Test(arguments: [
        (RequestForm.provision, "", "ADDRESS is missing"),
        (.provision, "gw/a gw/b", "unexpected argument 'gw/b'"),
        (.provision, "gw/a --var K", "--var: 'K' is not K=V"),
        (.provision, "gw/a --wake --no-wake", "--wake and --no-wake contradict each other"),
        (.provision, "gw/a --colour red", "unknown option --colour"),
        (.pause, "", "ADDRESS, --gateway or --board is missing"),
        (.rotateToken, "", "ADDRESS or GW is missing"),
        (.gateways, "gw", "unexpected argument 'gw'"),
    ])
    func badUsageIsNotSent(_ form: RequestForm, _ arguments: String, _ reason: String) {
        #expect(throws: UsageError(reason)) { try request(form, arguments) }
    }

    @Test func settingsInTheEnvironmentAreNotAnAgentsOwn() throws {
        let text = try request(.provision, "gw/a", environment: ["ROLLCALL_CHECKIN_DEADLINE": "1s"])
        #expect(text == #"{"agent":"gw/a"}"#)
    }

    private func request(_ form: RequestForm, _ arguments: String, environment: [String: String] = [:]) throws -> String
    {
        let parsed = try ParsedArguments(
            arguments.split(separator: " ").map(String.init), options: form.options + form.hiddenOptions,
            environment: environment)
        return JSON.text(JSONValue.object(try form.request(parsed)))
    }
}
