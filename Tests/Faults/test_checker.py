"""The checker finds each kind of broken promise in a history that was broken by hand, and none in a whole one."""

import copy
import json
import unittest

from checker import FIGURES, check, figures
from evidence import Beats, Command, Event, Evidence, Violation, Wake, Word, seconds, span

AGENT = "gw/a"
POLICY = {
    "checkin_deadline": "1s", "max_wake_attempts": 2, "offline_after": "4s", "lost_grace": "1s",
    "heartbeat_interval": "1s",
}


def at(offset):
    """The time so many seconds after noon."""
    return f"2026-01-01T12:00:{offset:06.3f}Z"


NOON = seconds(at(0))


def make_record(revision, status, generation, attempts=0, **members):
    return {
        "agent": AGENT, "revision": revision, "status": status, "lifecycle_generation": generation,
        "wake_attempts": attempts, "policy": dict(POLICY), "variables": {}, "last_wake_sent_at": None,
        "last_seen_at": None, "last_rejection": None, **members,
    }


def make_entry(record, event, reason, time):
    return {
        "id": f"{AGENT}#{record['revision']}", "event": event, "time": at(time), "source": "rollcall/reconciler/1",
        "subject": AGENT, "reason": reason, "record": record,
    }


def make_wake(attempt, received, **members):
    return Wake(AGENT, NOON + received, {
        "agent": AGENT, "generation": 1, "attempt": attempt, "max_attempts": 2, "reason": "provision",
        "deadline_at": at(received + 1), "templates_digest": "d", **members,
    })


def show(entry):
    """The event as an operator would have seen it."""
    payload = {name: copy.deepcopy(entry[name]) for name in ("event", "reason", "record")}
    attributes = {"id": entry["id"], "time": entry["time"], "source": entry["source"]}
    return Event(entry["id"], AGENT, entry["record"]["revision"], text(payload), attributes)


def text(document):
    return json.dumps(document).encode()


def with_member(event, name, value):
    """The event with another member in its payload."""
    event.text = text({**event.payload, name: value})


def make_whole():
    """An agent that was provisioned, woken twice, and went offline; then its counter was set and it was paused."""
    history = [
        make_entry(make_record(1, "provisioning", 1), "provisioning", "provision", 0),
        make_entry(make_record(2, "provisioning", 1, 1, last_wake_sent_at=at(0.1)), "woken", "provision", 0.1),
        make_entry(make_record(3, "updating", 1, 1, last_wake_sent_at=at(0.1)), "retriggered", "checkin_missed", 1.2),
        make_entry(make_record(4, "updating", 1, 2, last_wake_sent_at=at(1.3)), "woken", "retrigger", 1.3),
        make_entry(make_record(5, "offline", 1, 2, last_wake_sent_at=at(1.3)), "offline", "checkin_missed", 2.4),
        make_entry(make_record(6, "offline", 1, 2, variables={"n": "1"}), "changed", "updated", 3),
        make_entry(make_record(7, "offline", 1, 2, variables={"n": "1"}), "paused", "agent", 4),
    ]
    evidence = Evidence(silent={AGENT}, history={AGENT: history})
    evidence.events = [show(entry) for entry in history]
    evidence.statuses = [(AGENT, text(entry["record"])) for entry in history]
    evidence.records = {AGENT: copy.deepcopy(history[-1]["record"])}
    evidence.retained = {AGENT: text(history[-1]["record"])}
    evidence.wakes = [make_wake(1, 0.1), make_wake(2, 1.3, reason="retrigger")]
    evidence.commands = [
        answered("provision", 0, {"record": copy.deepcopy(history[0]["record"]), "token": "secret"}),
        answered("update --no-wake", 3, {"record": copy.deepcopy(history[5]["record"])}, {"variables": {"n": "1"}}),
        answered("pause", 4, {"paused": 1}),
    ]
    return evidence


def answered(kind, time, document, request=None, status=200):
    command = Command(kind, AGENT, f"{kind} {time}", {"agent": AGENT, **(request or {})}, sent=[NOON + time])
    command.answers.append((NOON + time + 0.1, status, document))
    return command


class CheckerTests(unittest.TestCase):
    def setUp(self):
        self.evidence = make_whole()
        self.history = self.evidence.history[AGENT]

    def kinds(self):
        return {violation.kind for violation in check(self.evidence)}

    def expect(self, *kinds):
        self.assertEqual(self.kinds(), set(kinds), check(self.evidence))

    def remake_end(self):
        """What is shown in the end follows the history."""
        self.evidence.records[AGENT] = copy.deepcopy(self.history[-1]["record"])
        self.evidence.retained[AGENT] = text(self.history[-1]["record"])

    def add(self, event, reason, time, status="offline", generation=1, attempts=2, **members):
        record = make_record(
            len(self.history) + 1, status, generation, attempts, **{"variables": {"n": "1"}, **members})
        self.history.append(make_entry(record, event, reason, time))
        self.remake_end()

    def test_finds_nothing_in_a_whole_history(self):
        self.expect()

    # Answers and effects

    def test_finds_a_lost_effect(self):
        self.evidence.commands.append(answered("pause", 5, {"paused": 1}))
        self.expect("effect_lost")

    def test_finds_a_lost_cycle(self):
        record = make_record(8, "updating", 2)
        self.evidence.commands.append(answered("wake", 5, {"record": record}))
        self.expect("effect_lost")

    def test_finds_an_effect_that_came_twice(self):
        self.add("paused", "agent", 5)
        self.expect("effect_twice")

    def test_lets_an_unanswered_command_have_its_effect_or_not(self):
        command = Command("pause", AGENT, "k", {"agent": AGENT}, sent=[NOON + 5])
        self.evidence.commands.append(command)
        self.expect()
        self.add("paused", "agent", 5)
        self.expect()

    def test_finds_a_counter_that_lost_a_value(self):
        self.history[5]["record"]["variables"] = self.history[6]["record"]["variables"] = {}
        self.remake_end()
        self.assertIn("effect_lost", self.kinds())

    def test_finds_a_counter_that_went_back(self):
        self.add("changed", "policy", 5, variables={"n": "2"})
        self.evidence.commands.append(answered(
            "update --no-wake", 5, {"record": self.history[-1]["record"]}, {"variables": {"n": "2"}}))
        self.history[-1]["reason"] = "updated"
        self.add("changed", "policy", 6, variables={"n": "1"})
        self.expect("effect_twice")

    def test_finds_a_counter_that_nobody_asked_for(self):
        self.add("changed", "policy", 5, variables={"n": "9"})
        self.expect("effect_twice")

    def test_finds_an_answer_that_is_not_what_is_stored(self):
        self.evidence.commands[1].answers[0][2]["record"]["board_id"] = "b9"
        self.expect("answer_differs")

    def test_finds_two_answers_to_one_key(self):
        self.evidence.commands[2].answers.append((NOON + 5, 200, {"paused": 0}))
        self.expect("answers_differ")

    def test_lets_a_repeat_mint_another_token(self):
        time, status, document = self.evidence.commands[0].answers[0]
        self.evidence.commands[0].answers.append((time + 1, status, {**document, "token": "another"}))
        self.expect()

    def test_finds_a_refusal_that_nothing_explains(self):
        self.evidence.commands.append(answered("wake", 5, {"type": "unknown-agent"}, status=404))
        self.expect("refused")

    # History

    def test_finds_a_gap(self):
        del self.history[2]
        self.assertIn("history_gap", self.kinds())

    def test_finds_a_generation_without_a_cycle(self):
        self.add("changed", "policy", 5, generation=2)
        self.expect("generation_jump")

    def test_finds_a_history_that_is_missing(self):
        del self.evidence.history[AGENT]
        self.assertIn("history_missing", self.kinds())

    def test_finds_two_verdicts_of_one_cycle(self):
        self.add("offline", "checkin_missed", 5)
        self.expect("offline_twice")

    def test_finds_an_attempt_too_many_and_one_that_was_skipped(self):
        self.add("woken", "retrigger", 5, attempts=3)
        self.expect("too_many_attempts")
        self.history[-1]["record"]["wake_attempts"] = 4
        self.remake_end()
        self.expect("too_many_attempts", "attempt_skipped")

    def test_finds_a_silent_agent_online(self):
        self.add("online", "heartbeat", 5, status="online", attempts=0)
        self.expect("silent_online")

    # Verdicts on agents that spoke

    def beat(self, *times):
        """The agent is one that beats, at (sent, taken) these times after noon."""
        self.evidence.silent, self.evidence.beating = set(), {AGENT}
        self.evidence.__dict__.pop("speech", None)
        for sent, taken in times:
            self.evidence.beats.append(Beats((AGENT,), NOON + sent, taken and NOON + taken))

    def lapse(self):
        """The verdict at 12:00:02.4 is one of silence in place of a deadline."""
        self.history[4]["reason"] = "lapsed"
        self.evidence.events = [show(entry) for entry in self.history]

    def test_finds_a_verdict_on_a_heartbeat_in_time(self):
        self.beat((1.8, 1.9))
        self.expect("false_offline")

    def test_finds_a_verdict_on_an_answer_to_its_wake(self):
        self.beat()
        self.evidence.words = [Word(AGENT, "ok", NOON + 1.8, NOON + 1.9, generation=1)]
        self.expect("false_offline")

    def test_finds_a_verdict_on_an_answer_to_the_cycle_s_first_wake(self):
        self.beat((0.5, 0.6))
        self.expect("false_offline")

    def test_lets_a_heartbeat_that_is_no_check_in_end_offline(self):
        for word in (
                Word(AGENT, "starting", NOON + 1.8, NOON + 1.9), Word(AGENT, "ok", NOON + 1.8, NOON + 1.9, generation=0),
                Word(AGENT, "lost", NOON + 1.8, NOON + 1.9)):
            with self.subTest(word=word):
                self.beat()
                self.evidence.words = [word]
                self.expect()

    def test_counts_a_verdict_on_an_agent_that_could_not_be_heard(self):
        for times in [(2.25, 2.35), (1.8, None), (1.8, 2.5)]:
            with self.subTest(times=times):
                self.setUp()
                self.beat(times)
                self.expect()
                self.assertEqual(self.evidence.figures["offline_unheard"], 1)

    def test_counts_a_verdict_on_an_agent_that_did_not_speak(self):
        self.beat((0.0, 0.05), (5, 5.1))
        self.expect()
        self.assertEqual(self.evidence.figures["offline_silent"], 1)

    def test_finds_a_lapse_of_an_agent_that_was_heard(self):
        self.lapse()
        self.beat((-2, -1.9), (-1, -0.9))
        self.expect("false_offline")

    def test_lets_an_agent_lapse_whose_heartbeat_came_late(self):
        self.lapse()
        self.beat((-4, -3.9), (1.5, 2.3))
        self.expect()
        self.assertEqual(self.evidence.figures["offline_unheard"], 1)

    def test_lets_an_agent_lapse_after_its_last_will(self):
        self.lapse()
        self.beat((-2, -1.9), (-1, -0.9))
        self.evidence.words = [Word(AGENT, "lost", NOON - 0.5, NOON - 0.4)]
        self.expect()
        self.beat((0.3, 0.4))
        self.expect("false_offline")

    def test_lets_an_agent_lapse_whose_gateway_has_returned_without_it(self):
        self.lapse()
        self.history[3].update(event="lapsed", reason="host_restarted")
        self.evidence.events = [show(entry) for entry in self.history]
        self.beat((0.2, 0.3))
        self.expect("false_offline")
        self.evidence.returns = {AGENT.partition("/")[0]: [NOON + 0.8, NOON + 9]}
        self.expect()
        self.beat((1.1, 1.2))
        self.expect("false_offline")

    def test_lets_an_agent_lapse_by_its_silence_within_the_grace_of_its_last_will(self):
        self.lapse()
        self.evidence.words = [Word(AGENT, "lost", NOON + 1.5, NOON + 1.6)]
        self.beat((-1.7, -1.6), (2.32, 2.35))
        self.expect()
        self.beat((-1.5, -1.4), (2.32, 2.35))
        self.expect("false_offline")

    def test_asks_less_of_a_heartbeat_that_an_ingest_may_have_lost(self):
        for party in ("broker", "ingest", "ingest/2"):
            with self.subTest(party=party):
                self.setUp()
                self.evidence.spans = {party: [(NOON - 5, NOON + 1)], "reconciler": [(NOON - 5, NOON + 9)]}
                self.beat((0.5, 0.6))
                self.expect()
                # After that it was woken again.
                self.beat((1.5, 1.6))
                self.expect("false_offline")

    def test_knows_that_an_ingest_keeps_what_nobody_takes(self):
        """Taken long before the last wake, and then the ingest fell: it had handed it over, unless its receiver was away."""
        self.evidence.spans = {"ingest": [(NOON + 5, NOON + 6)]}
        self.beat((0.5, 0.6))
        self.expect("false_offline")
        for party in ("reconciler/2", "store", "disk", "broker"):
            with self.subTest(party=party):
                self.evidence.spans = {"ingest": [(NOON + 5, NOON + 6)], party: [(NOON + 1, NOON + 4.5)]}
                self.expect()
        # One after the other was away.
        self.evidence.spans = {
            "ingest": [(NOON + 5, NOON + 6)], "store": [(NOON + 1, NOON + 3)], "reconciler": [(NOON + 3.5, NOON + 4.5)]}
        self.expect()
        self.evidence.spans["reconciler"] = [(NOON + 4.5, NOON + 4.6)]
        self.expect("false_offline")

    def test_asks_less_of_a_lapse_after_an_outage(self):
        for party in ("broker", "ingest", "reconciler/2", "store"):
            with self.subTest(party=party):
                self.setUp()
                self.lapse()
                self.evidence.spans = {party: [(NOON - 9, NOON - 8)]}
                self.beat((-2, -1.9), (0.1, 0.2))
                self.expect()
                # It lapses at the earliest one interval and one deadline after the outage.
                self.beat((0.6, 0.7))
                self.expect("false_offline")

    def test_finds_a_goodbye_that_nobody_said(self):
        self.history[4]["reason"] = "goodbye"
        self.evidence.events = [show(entry) for entry in self.history]
        self.beat((1, 1.1))
        self.expect("false_offline")
        self.beat()
        self.evidence.words = [Word(AGENT, "stopping", NOON + 2.2)]
        self.expect()

    def test_finds_a_verdict_while_paused(self):
        self.history[4]["record"]["paused"] = True
        self.evidence.events = [show(entry) for entry in self.history]
        self.evidence.statuses[4] = (AGENT, text(self.history[4]["record"]))
        self.expect("verdict_while_paused")

    def test_takes_a_stepped_clock_off_a_stamp(self):
        self.evidence.reference = NOON + 60
        self.assertEqual(self.evidence.true_time("2026-01-01T20:00:01.000Z"), NOON + 1)
        self.assertEqual(self.evidence.true_time("2025-12-31T23:00:01.000Z"), NOON + 1)
        self.history[4]["time"] = "2026-01-01T07:00:02.400Z"
        self.evidence.events = [show(entry) for entry in self.history]
        self.lapse()
        self.beat((-2, -1.9), (-1, -0.9))
        self.expect("false_offline")

    def test_finds_agents_in_the_wrong_status_at_the_end(self):
        self.evidence.unsettled = {AGENT: "updating"}
        self.expect("silent_not_offline")
        self.evidence.silent, self.evidence.beating = set(), {AGENT}
        self.assertIn("beating_not_online", self.kinds())

    # Groups

    def pause_group(self, kind, time, status=200):
        command = answered(kind, time, {"paused": 1}, status=status)
        command.agent, command.group = "", ("gateway", "gw")
        self.evidence.groups = {("gateway", "gw"): {AGENT}}
        self.evidence.commands.append(command)
        return command

    def test_finds_a_group_s_pause_that_an_agent_missed(self):
        command = self.pause_group("pause", 5)
        self.expect("effect_lost")
        self.add("paused", "gateway", 5)
        self.expect()
        command.answers = []
        self.expect()
        self.add("paused", "gateway", 6)
        self.expect("effect_twice")

    def test_finds_a_wake_of_a_paused_group(self):
        self.evidence.commands.append(answered("resume", 4.5, {"paused": 1}))
        self.add("resumed", "agent", 4.5)
        self.pause_group("pause", 5)
        self.add("paused", "gateway", 5)
        self.evidence.wakes.append(make_wake(2, 7, reason="retrigger"))
        self.expect("wake_while_paused")
        self.pause_group("resume", 6)
        self.add("resumed", "gateway", 6)
        self.expect()

    def test_finds_gateways_that_should_not_be_there(self):
        self.evidence.gateways = (["gw"], ["churn0", "gw"])
        self.expect("end_differs")

    def test_finds_a_removal_that_left_an_agent(self):
        command = answered("remove-gateway", 8, {"deleted_agents": 1}, {"gateway": "gw"})
        command.agent, command.deletes, command.expects = "", (AGENT,), {"deleted_agents": 1}
        self.evidence.commands.append(command)
        self.expect("effect_lost")
        self.add("deleting", None, 8, status="deleting")
        self.add("deleted", None, 8, status="deleting")
        self.evidence.records[AGENT] = self.evidence.retained[AGENT] = None
        self.expect()
        command.answers[0][2]["deleted_agents"] = 2
        self.expect("answer_differs")

    def test_finds_a_token_that_was_rotated_without_being_asked(self):
        self.add("token_rotated", None, 5)
        self.expect("effect_twice")
        # A repeat of the provision mints again.
        self.evidence.commands[0].sent.append(NOON + 0.2)
        self.expect()

    def test_counts_violations_for_the_figures(self):
        for figure, kinds in FIGURES.items():
            for kind in kinds:
                counted = figures([Violation(kind, AGENT, ""), Violation("event_order", AGENT, "")])
                self.assertEqual(counted, {each: int(each == figure) for each in FIGURES})

    # What was shown

    def test_finds_an_event_that_a_crash_took_back(self):
        event = show(self.history[6])
        event.id, event.sequence = "gw/a#8", 8
        self.evidence.events.append(event)
        self.expect("shown_not_stored")

    def test_finds_an_event_that_was_stored_otherwise(self):
        with_member(self.evidence.events[4], "reason", "lapsed")
        self.expect("shown_differs")

    def test_finds_an_event_with_two_contents(self):
        again = copy.deepcopy(self.evidence.events[3])
        self.evidence.events.append(again)
        self.expect()
        with_member(again, "reason", "manual")
        self.expect("event_changed")

    def test_finds_events_out_of_order(self):
        self.evidence.events[2:4] = reversed(self.evidence.events[2:4])
        self.expect("event_order")

    def test_finds_a_status_that_is_not_stored(self):
        self.evidence.statuses.append((AGENT, text(make_record(8, "online", 1))))
        self.expect("shown_not_stored")
        self.evidence.statuses[-1] = (AGENT, text(make_record(7, "online", 1)))
        self.expect("shown_differs")

    def test_lets_last_seen_at_be_newer(self):
        self.evidence.records[AGENT]["last_seen_at"] = at(9)
        self.expect()

    def test_finds_an_end_that_is_not_the_last_record(self):
        self.evidence.retained[AGENT] = text(self.history[5]["record"])
        self.expect("end_differs")
        self.evidence.retained[AGENT] = None
        self.expect("end_differs")

    def test_finds_what_is_left_of_a_deleted_agent(self):
        self.add("deleting", None, 5, status="deleting")
        self.add("deleted", None, 6, status="deleting")
        self.evidence.commands.append(answered("delete", 5, {"record": self.history[-1]["record"]}))
        self.expect("end_differs")
        self.evidence.records[AGENT] = self.evidence.retained[AGENT] = None
        self.expect()

    # Wakes

    def test_finds_two_wakes_under_one_identity(self):
        self.evidence.wakes.append(make_wake(2, 1.5, reason="retrigger"))
        self.expect()
        self.evidence.wakes.append(make_wake(2, 1.6, reason="manual"))
        self.expect("two_wakes_one_identity")

    def test_finds_a_wake_beyond_the_last_attempt(self):
        self.evidence.wakes.append(make_wake(3, 2.5))
        self.expect("too_many_attempts")

    def test_finds_a_wake_after_its_deadline_unless_the_broker_held_it(self):
        self.evidence.wakes[1].received += 2
        self.expect("wake_after_deadline")
        for party in ("broker", "gateway/gw", "provisioner/2", "checker"):
            self.evidence.spans = {party: [(NOON + 1, NOON + 3)]}
            self.expect()
        self.evidence.spans = {"gateway/other": [(NOON + 1, NOON + 3)], "ingest": [(NOON + 1, NOON + 3)]}
        self.expect("wake_after_deadline")

    def test_finds_a_wake_for_another_agent(self):
        self.evidence.wakes[0].agent = "gw/b"
        self.expect("wake_misdirected")

    def test_finds_a_wake_of_a_paused_agent(self):
        self.evidence.wakes.append(make_wake(2, 6, reason="retrigger"))
        self.expect("wake_while_paused")
        self.evidence.commands.append(answered("resume", 5, {"paused": 1}))
        self.add("resumed", "agent", 5)
        self.expect()

    def test_reads_durations(self):
        self.assertEqual([span("500ms"), span("2s"), span("10m"), span("1h"), span("1d")], [0.5, 2, 600, 3600, 86400])
        with self.assertRaises(ValueError):
            span("soon")


if __name__ == "__main__":
    unittest.main()
