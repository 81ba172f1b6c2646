"""Compares what Rollcall answered and showed with what it stored: `check(evidence)` names every broken promise.

Nothing here talks to a system. `Evidence` is filled by a trial (trial.py) or by hand (test_checker.py).
"""

import json
from collections import Counter, defaultdict

from evidence import Violation
from verdicts import CYCLES, check_verdicts

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
    "rotate-token": ("token_rotated", None),
}
# What counts of the violations for each figure of the summary; all others are violations all the same.
FIGURES = {
    "lost_answers": ("effect_lost", "answer_differs", "answers_differ", "history_missing"),
    "effects_twice": ("effect_twice", "offline_twice"),
    "false_offline": ("false_offline", "verdict_while_paused"),
    "silent_not_offline": ("silent_not_offline",),
    "too_many_attempts": ("too_many_attempts",),
    "two_wakes_one_identity": ("two_wakes_one_identity",),
}
# Wakes on their way when a pause was answered reach a gateway a little later.
PAUSE_SLACK = 1.0
# Between two processes of one machine, and for a client that has other things to do.
CLOCK_SLACK = 0.25


def check(evidence):
    """Every violation in the evidence; fills its figures."""
    found = []
    evidence.figures.clear()
    seen = first_seen(evidence, found)
    check_wakes(evidence, found)
    check_pauses(evidence, found)
    commands = defaultdict(list)
    for command in evidence.commands:
        check_answers(command, found)
        if command.agent:
            commands[command.agent].append(command)
        for agent in command.deletes:
            commands[agent].append(command.about(agent))
    for agent, history in evidence.history.items():
        check_history(agent, history, found)
        check_verdicts(evidence, agent, history, found)
        check_effects(agent, history, commands[agent], found)
        check_seen(agent, history, seen[agent], found)
        check_end(evidence, agent, history, found)
    check_groups(evidence, found)
    check_statuses(evidence, found)
    for agent in {*commands, *seen} - {*evidence.history}:
        found.append(Violation("history_missing", agent, "no history of it was read"))
    for agent, status in evidence.unsettled.items():
        kind = "silent_not_offline" if agent in evidence.silent else "beating_not_online"
        found.append(Violation(kind, agent, f"is {status} after the faults have ended"))
    wanted, left = map(sorted, evidence.gateways)
    if wanted != left:
        found.append(Violation("end_differs", "", f"gateways {left} in place of {wanted}"))
    return found


def figures(violations):
    """The figures that must be 0."""
    kinds = Counter(violation.kind for violation in violations)
    return {figure: sum(kinds[kind] for kind in parts) for figure, parts in FIGURES.items()}


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
            if first.attributes != event.attributes or first.text != event.text and first.payload != event.payload:
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
    for agent, text in evidence.statuses:
        if text is None or agent not in revisions:
            continue
        record = json.loads(text)
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
        late = wake.received - evidence.true_time(payload["deadline_at"])
        if late > CLOCK_SLACK:
            if evidence.is_late(wake.agent, wake.received - late - 2.5, wake.received):
                evidence.figures["wakes_held_back"] += 1
            else:
                found.append(Violation("wake_after_deadline", wake.agent, f"{identity[1:]} came {late:.2f} s late"))
    for (agent, generation), numbers in attempts.items():
        most = max(content["max_attempts"] for key, content in first.items() if key[:2] == (agent, generation)) \
            if len(numbers) > 1 else len(numbers)
        if len(numbers) > most:
            found.append(Violation("too_many_attempts", agent, f"generation {generation}: {sorted(numbers)}"))


def check_pauses(evidence, found):
    """No wake between the answer of a pause and the request to resume, a new provision or a deletion."""
    spans = defaultdict(list)
    by_target = defaultdict(list)
    for command in evidence.commands:
        if command.kind in ("pause", "resume", "delete") and command.sent:
            by_target[command.group or command.agent].append(command)
    for target, commands in by_target.items():
        commands.sort(key=lambda command: command.sent[0])
        paused_at = None
        agents = evidence.groups.get(target, ()) if isinstance(target, tuple) else (target,)
        for command in [*commands, None]:
            if command is not None and command.kind == "pause" and command.is_done:
                paused_at = command.answers[0][0]
            elif paused_at is not None:
                for agent in agents:
                    spans[agent].append((paused_at, command.sent[0] if command else float("inf")))
                paused_at = None
    for wake in evidence.wakes:
        for start, end in spans.get(wake.agent, ()):
            if not start + PAUSE_SLACK < wake.received < end:
                continue
            if evidence.is_late(wake.agent, start, wake.received):
                evidence.figures["wakes_held_back"] += 1
            else:
                found.append(Violation(
                    "wake_while_paused", wake.agent, f"{wake.received - start:.2f} s after the pause was answered"))


# Commands


def check_answers(command, found):
    """Whatever was asked with one key got one answer."""
    if not command.is_answered:
        return
    _, status, document = command.answers[0]
    if status != 200:
        found.append(Violation("refused", command.agent, f"{command.kind} {command.key}: {document}"))
    elif any(document.get(name) != value for name, value in command.expects.items()):
        found.append(Violation(
            "answer_differs", command.agent, f"{command.kind} {command.key}: {document}, not {command.expects}"))
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
        if kind == "rotate-token":
            # A repeat mints the token again as long as nobody has used the first.
            unknown += sum(len(each.sent) - 1 for each in commands if each.kind in ("provision", kind))
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


def check_groups(evidence, found):
    """A pause of a gateway or a board reaches once each agent that was in it all the time; so does its end."""
    by_group = defaultdict(list)
    for command in evidence.commands:
        if command.group:
            by_group[command.group, command.kind].append(command)
    for (group, kind), commands in by_group.items():
        done = sum(command.is_done for command in commands)
        unknown = sum(not command.is_answered for command in commands)
        event = EFFECTS[kind][0]
        for agent in evidence.groups.get(group, ()):
            stored = sum(
                entry["event"] == event and entry["reason"] == group[0] for entry in evidence.history.get(agent, ()))
            if not done <= stored <= done + unknown:
                found.append(Violation(
                    "effect_lost" if stored < done else "effect_twice", agent,
                    f"{done} {kind} of {group[0]} {group[1]} answered, {stored} stored ({unknown} unknown)"))


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


def check_end(evidence, agent, history, found):
    """What `get` answers and what is retained is the last record; of a deleted agent nothing is left."""
    if not history:
        return
    last = history[-1]
    record, retained = evidence.records.get(agent), evidence.retained.get(agent)
    retained = retained and json.loads(retained)
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
