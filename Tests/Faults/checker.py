"""Compares what Rollcall answered and showed with what it stored: `check(evidence)` names every broken promise.

Nothing here talks to a system. `Evidence` is filled by a trial (trial.py) or by hand (test_checker.py).
"""

import dataclasses
import datetime
from collections import Counter, defaultdict

# What the contract lets change without an event: it may be newer in an answer, a status or `get` than in the history.
EVENTLESS = ("last_seen_at", "last_rejection")
# The event by which each command is seen in the history, with its reason.
EFFECTS = {
    "provision": ("provisioning", "provision"),
    "update": ("updating", "update"),
    "update --no-wake": ("changed", "updated"),
    "wake": ("updating", "manual"),
    "pause": ("paused", "agent"),
    "resume": ("resumed", "agent"),
    "delete": ("deleting", None),
}
CYCLES = ("provisioning", "updating")
# Wakes on their way when a pause was answered reach a gateway a little later.
PAUSE_SLACK = 1.0
# Between two processes of one machine, and for a client that has other things to do.
CLOCK_SLACK = 0.25


@dataclasses.dataclass
class Violation:
    """A broken promise: its kind is one of those that the summary counts."""

    kind: str
    agent: str
    detail: str


@dataclasses.dataclass
class Command:
    """A command with its idempotency key, and every answer it got."""

    kind: str
    agent: str
    key: str
    request: dict
    # When each copy was sent, and (time, status, document) of each answer, `unavailable` ones left out.
    sent: list = dataclasses.field(default_factory=list)
    answers: list = dataclasses.field(default_factory=list)

    @property
    def is_answered(self):
        return bool(self.answers)

    @property
    def is_done(self):
        return self.is_answered and self.answers[0][1] == 200


@dataclasses.dataclass
class Wake:
    agent: str
    received: float
    payload: dict


@dataclasses.dataclass
class Event:
    """A lifecycle event as an operator saw it."""

    id: str
    agent: str
    sequence: int
    payload: dict
    attributes: dict


@dataclasses.dataclass
class Evidence:
    """All that was asked, answered, seen and found; times are seconds since 1970."""

    commands: list = dataclasses.field(default_factory=list)
    wakes: list = dataclasses.field(default_factory=list)
    # In the order in which they arrived, repeats included.
    events: list = dataclasses.field(default_factory=list)
    # (agent, record) of each status message, in order; the record is None where the retained message was cleared.
    statuses: list = dataclasses.field(default_factory=list)
    # In the end: history oldest first, record (None: unknown agent) and retained status of each agent.
    history: dict = dataclasses.field(default_factory=dict)
    records: dict = dataclasses.field(default_factory=dict)
    retained: dict = dataclasses.field(default_factory=dict)
    silent: set = dataclasses.field(default_factory=set)
    beating: set = dataclasses.field(default_factory=set)
    # When heartbeats of a beating agent were published that the broker acknowledged.
    heartbeats: dict = dataclasses.field(default_factory=dict)
    # (start, end) of each time in which the broker was dead or stopped, widened by the time to reconnect.
    broker_faults: list = dataclasses.field(default_factory=list)
    # Silent agents that were not offline, beating ones that were not online when the time to settle was over.
    unsettled: dict = dataclasses.field(default_factory=dict)


def check(evidence):
    """Every violation in the evidence."""
    found = []
    seen = first_seen(evidence, found)
    check_wakes(evidence, found)
    check_pauses(evidence, found)
    commands = defaultdict(list)
    for command in evidence.commands:
        commands[command.agent].append(command)
        check_answers(command, found)
    for agent, history in evidence.history.items():
        check_history(agent, history, found)
        check_verdicts(evidence, agent, history, found)
        check_effects(agent, history, commands[agent], found)
        check_seen(agent, history, seen[agent], found)
        check_end(evidence, agent, history, found)
    check_statuses(evidence, found)
    for agent in {*commands, *seen} - {*evidence.history}:
        found.append(Violation("history_missing", agent, "no history of it was read"))
    for agent, status in evidence.unsettled.items():
        kind = "silent_not_offline" if agent in evidence.silent else "beating_not_online"
        found.append(Violation(kind, agent, f"is {status} after the faults have ended"))
    return found


def facts(record):
    """A record without what may change without an event."""
    return {name: value for name, value in (record or {}).items() if name not in EVENTLESS}


def differences(one, other):
    """The members in which two documents differ, as a text."""
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    return ", ".join(f"{name}: {one.get(name)!r} and {other.get(name)!r}" for name in names)


# What was seen


def first_seen(evidence, found):
    """The first copy of each event by agent, in the order of arrival; checks that repeats are repeats."""
    known, seen, highest = {}, defaultdict(list), {}
    for event in evidence.events:
        first = known.get(event.id)
        if first is not None:
            if (first.payload, first.attributes) != (event.payload, event.attributes):
                found.append(Violation("event_changed", event.agent, f"{event.id} was published with two contents"))
            continue
        known[event.id] = event
        if event.sequence <= highest.get(event.agent, 0):
            found.append(Violation(
                "event_order", event.agent, f"{event.id} came after revision {highest[event.agent]}"))
        highest[event.agent] = max(event.sequence, highest.get(event.agent, 0))
        seen[event.agent].append(event)
    return seen


def check_seen(agent, history, seen, found):
    """Nothing was shown that is not stored: a crash took nothing back."""
    stored = {entry["id"]: entry for entry in history}
    for event in seen:
        entry = stored.get(event.id)
        if entry is None:
            found.append(Violation("shown_not_stored", agent, f"{event.payload.get('event')} {event.id}"))
            continue
        shown = {**event.payload, "time": event.attributes.get("time"), "source": event.attributes.get("source")}
        kept = {name: entry.get(name) for name in shown}
        if shown != kept or entry["record"]["revision"] != event.sequence:
            found.append(Violation("shown_differs", agent, f"{event.id}: {differences(shown, kept)}"))


def check_statuses(evidence, found):
    """Each status that was shown is a stored revision."""
    revisions = {
        agent: {entry["record"]["revision"]: entry["record"] for entry in history}
        for agent, history in evidence.history.items()
    }
    for agent, record in evidence.statuses:
        if record is None or agent not in revisions:
            continue
        stored = revisions[agent].get(record["revision"])
        if stored is None:
            found.append(Violation("shown_not_stored", agent, f"status of revision {record['revision']}"))
        elif facts(stored) != facts(record):
            found.append(Violation(
                "shown_differs", agent,
                f"status of revision {record['revision']}: {differences(facts(record), facts(stored))}"))


# Wakes


def check_wakes(evidence, found):
    """One identity is one wake; never more attempts than promised; a wake arrives before its deadline."""
    first, attempts = {}, defaultdict(set)
    for wake in evidence.wakes:
        payload = wake.payload
        identity = (payload["agent"], payload["generation"], payload["attempt"])
        content = {name: value for name, value in payload.items() if name != "deadline_at"}
        if first.setdefault(identity, content) != content:
            found.append(Violation(
                "two_wakes_one_identity", wake.agent, f"{identity[1:]}: {differences(first[identity], content)}"))
        attempts[identity[:2]].add(identity[2])
        if not 1 <= identity[2] <= payload["max_attempts"]:
            found.append(Violation("too_many_attempts", wake.agent, f"attempt {identity[2]} of {payload['max_attempts']}"))
        if payload["agent"] != wake.agent:
            found.append(Violation("wake_misdirected", wake.agent, f"names {payload['agent']}"))
        late = wake.received - seconds(payload["deadline_at"])
        if late > CLOCK_SLACK and not overlaps(evidence.broker_faults, wake.received - late - 2.5, wake.received):
            found.append(Violation("wake_after_deadline", wake.agent, f"{identity[1:]} came {late:.2f} s late"))
    for (agent, generation), numbers in attempts.items():
        most = max(content["max_attempts"] for key, content in first.items() if key[:2] == (agent, generation)) \
            if len(numbers) > 1 else len(numbers)
        if len(numbers) > most:
            found.append(Violation("too_many_attempts", agent, f"generation {generation}: {sorted(numbers)}"))


def check_pauses(evidence, found):
    """No wake between the answer of a pause and the request to resume, a new provision or a deletion."""
    spans = defaultdict(list)
    by_agent = defaultdict(list)
    for command in evidence.commands:
        if command.kind in ("pause", "resume", "delete") and command.sent:
            by_agent[command.agent].append(command)
    for agent, commands in by_agent.items():
        commands.sort(key=lambda command: command.sent[0])
        paused_at = None
        for command in commands:
            if command.kind == "pause" and command.is_done:
                paused_at = command.answers[0][0]
            elif paused_at is not None:
                spans[agent].append((paused_at, command.sent[0]))
                paused_at = None
        if paused_at is not None:
            spans[agent].append((paused_at, float("inf")))
    for wake in evidence.wakes:
        for start, end in spans.get(wake.agent, ()):
            if start + PAUSE_SLACK < wake.received < end and not overlaps(
                    evidence.broker_faults, start, wake.received):
                found.append(Violation(
                    "wake_while_paused", wake.agent, f"{wake.received - start:.2f} s after the pause was answered"))


def overlaps(spans, start, end):
    return any(first <= end and start <= last for first, last in spans)


# Commands


def check_answers(command, found):
    """Whatever was asked with one key got one answer."""
    if not command.is_answered:
        return
    _, status, document = command.answers[0]
    if status != 200:
        found.append(Violation("refused", command.agent, f"{command.kind} {command.key}: {document}"))
    for _, other_status, other in command.answers[1:]:
        if (status, without_token(document)) != (other_status, without_token(other)):
            found.append(Violation(
                "answers_differ", command.agent,
                f"{command.kind} {command.key}: {differences(flat(document), flat(other))}"))


def without_token(document):
    """An answer without what a repeat may mint anew."""
    plain = {name: value for name, value in document.items() if name != "token"}
    return plain


def flat(document):
    return {**without_token(document), **(document.get("record") or {})}


def check_effects(agent, history, commands, found):
    """Each answered command has its effect once; one without an answer has it at most once."""
    by_revision = {entry["record"]["revision"]: entry for entry in history}
    effects = Counter((entry["event"], entry["reason"]) for entry in history)
    for kind, (event, reason) in EFFECTS.items():
        these = [command for command in commands if command.kind == kind]
        done = sum(command.is_done for command in these)
        unknown = sum(not command.is_answered for command in these)
        stored = effects[(event, reason)]
        if stored < done:
            found.append(Violation("effect_lost", agent, f"{done} {kind} answered, {stored} stored"))
        if stored > done + unknown:
            found.append(Violation("effect_twice", agent, f"{done} {kind} answered, {stored} stored ({unknown} unknown)"))
    for command in commands:
        record = command.answers[0][2].get("record") if command.is_done else None
        if record is None:
            continue
        stored = by_revision.get(record["revision"])
        if stored is None:
            found.append(Violation("effect_lost", agent, f"answered revision {record['revision']} is not stored"))
        elif facts(stored["record"]) != facts(record):
            found.append(Violation(
                "answer_differs", agent, f"{command.kind}: {differences(facts(record), facts(stored['record']))}"))
    check_counter(agent, history, commands, found)


def check_counter(agent, history, commands, found):
    """The variable `n` took each value that was asked for, once and in order, whoever else changed the record."""
    wanted = [
        (command.request["variables"]["n"], command.is_done) for command in commands
        if "n" in (command.request.get("variables") or {}) and (command.is_done or not command.is_answered)
    ]
    taken = []
    for entry in history:
        if entry["event"] == "deleted":
            continue
        value = entry["record"]["variables"].get("n")
        if value is not None and (not taken or taken[-1] != value):
            taken.append(value)
    repeated = [value for value, count in Counter(taken).items() if count > 1]
    if repeated:
        found.append(Violation("effect_twice", agent, f"variable n was {repeated} more than once: {taken[-20:]}"))
    missing = [value for value, is_done in wanted if is_done and value not in set(taken)]
    if missing:
        found.append(Violation("effect_lost", agent, f"variable n never was {missing}"))
    invented = set(taken) - {value for value, _ in wanted}
    if invented:
        found.append(Violation("effect_twice", agent, f"variable n was {sorted(invented)}, which nobody asked for"))


# History


def check_history(agent, history, found):
    """Gapless by revision; one event for each; generations grow by cycles alone; verdicts alternate with life."""
    for index, entry in enumerate(history):
        revision = entry["record"]["revision"]
        if revision != index + 1:
            found.append(Violation("history_gap", agent, f"revision {revision} in place of {index + 1}"))
            break
    ids = Counter(entry["id"] for entry in history)
    if len(ids) < len(history):
        found.append(Violation("history_gap", agent, f"ids used twice: {[i for i, n in ids.items() if n > 1]}"))
    generation, was_offline, attempts = 0, False, defaultdict(set)
    for entry in history:
        record, event = entry["record"], entry["event"]
        expected = generation + (event in CYCLES)
        if record["lifecycle_generation"] != expected:
            found.append(Violation(
                "generation_jump", agent, f"{event} at revision {record['revision']} has generation "
                f"{record['lifecycle_generation']}, not {expected}"))
        generation = record["lifecycle_generation"]
        if event in ("woken", "provision_failed"):
            attempts[generation].add(record["wake_attempts"])
            if record["wake_attempts"] > record["policy"]["max_wake_attempts"]:
                found.append(Violation("too_many_attempts", agent, f"{record['wake_attempts']} in {generation}"))
        if event == "offline":
            if was_offline:
                found.append(Violation("offline_twice", agent, f"at revision {record['revision']}"))
            was_offline = True
        elif event == "online" or event in CYCLES:
            was_offline = False
    for number, these in attempts.items():
        if sorted(these) != list(range(1, len(these) + 1)):
            found.append(Violation("attempt_skipped", agent, f"generation {number}: {sorted(these)}"))


def check_verdicts(evidence, agent, history, found):
    """No verdict of silence on an agent that was heard; nobody online who never spoke."""
    woken_at = None
    for entry in history:
        event = entry["event"]
        if event in CYCLES:
            woken_at = None
        if event in ("woken", "provision_failed"):
            woken_at = seconds(entry["record"]["last_wake_sent_at"] or entry["time"])
        if event == "online" and agent in evidence.silent:
            found.append(Violation("silent_online", agent, f"at revision {entry['record']['revision']}"))
        if event != "offline" or agent not in evidence.beating:
            continue
        at = seconds(entry["time"])
        policy = entry["record"]["policy"]
        start = woken_at if entry["reason"] == "checkin_missed" else at - span(policy["offline_after"])
        end = woken_at + span(policy["checkin_deadline"]) if entry["reason"] == "checkin_missed" else at
        heard = [time for time in evidence.heartbeats.get(agent, ()) if start <= time < end]
        if entry["reason"] in ("checkin_missed", "lapsed"):
            kind = "false_offline" if heard else "offline_unheard"
            found.append(Violation(
                kind, agent, f"{entry['reason']} at {entry['time']} (revision {entry['record']['revision']}) "
                f"although {len(heard)} heartbeats were acknowledged from {start:.3f} to {end:.3f}"))


def check_end(evidence, agent, history, found):
    """What `get` answers and what is retained is the last record; of a deleted agent nothing is left."""
    if not history:
        return
    last = history[-1]
    record, retained = evidence.records.get(agent), evidence.retained.get(agent)
    if last["event"] == "deleted":
        if record is not None:
            found.append(Violation("end_differs", agent, f"deleted, but `get` answers {record['status']}"))
        if retained is not None:
            found.append(Violation("end_differs", agent, "deleted, but its status is retained"))
        return
    for name, other in (("get", record), ("retained status", retained)):
        if other is None:
            found.append(Violation("end_differs", agent, f"no {name}, last event {last['event']}"))
        elif facts(other) != facts(last["record"]):
            found.append(Violation("end_differs", agent, f"{name}: {differences(facts(other), facts(last['record']))}"))


# Text


def seconds(text):
    """RFC 3339 with milliseconds, UTC, as seconds since 1970."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def span(text):
    """A duration of the contract in seconds."""
    for unit, factor in (("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)):
        number = text.removesuffix(unit)
        if number != text and number.isdigit():
            return int(number) * factor
    raise ValueError(f"'{text}' is no duration")
