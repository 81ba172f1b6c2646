"""Judges the verdicts: who was heard in time is not declared offline, who never spoke is never online."""

import bisect

from evidence import Violation, span

CYCLES = ("provisioning", "updating")
# What an agent says that proves it ready, and what may settle a cycle at most by being heard.
ALIVE = ("ok", "degraded")
# A verdict waits for ingests at most 1 s, and for its turn.
VERDICT_TAKES = 1.2
# A partition may change hands so long after a fault; what its owner had seen is told to the next only every few seconds.
OWNER_CHANGES = 15


def check_verdicts(evidence, agent, history, found):
    """Every verdict of silence in an agent's history; those on agents that were not heard are counted alone."""
    first_wake = last_failure = cause = None
    for entry in history:
        event, record = entry["event"], entry["record"]
        if event in CYCLES:
            first_wake = last_failure = None
        if event in ("woken", "provision_failed"):
            first_wake = first_wake or evidence.true_time(entry["time"])
            if event == "provision_failed":
                last_failure = evidence.true_time(entry["time"])
        if event == "online" and agent in evidence.silent:
            found.append(Violation("silent_online", agent, f"at revision {record['revision']}"))
        if record.get("paused") and event in ("lapsed", "retriggered", "offline") and entry["reason"] != "goodbye":
            found.append(Violation("verdict_while_paused", agent, f"{event} at revision {record['revision']}"))
        if event == "lapsed":
            cause = entry["reason"]
        if event != "offline":
            continue
        evidence.figures["offline"] += 1
        if agent not in evidence.beating:
            continue
        speech = evidence.speech.get(agent, ())
        if entry["reason"] == "checkin_missed":
            heard, tried = checked_in(evidence, entry, speech, first_wake, last_failure)
        elif entry["reason"] == "lapsed":
            returns = evidence.returns.get(agent.partition("/")[0], ()) if cause == "host_restarted" else ()
            heard, tried = did_not_lapse(evidence, entry, speech, returns)
        else:
            check_goodbye(evidence, agent, entry, speech, found)
            continue
        if heard:
            found.append(Violation(
                "false_offline", agent, f"{entry['reason']} at {entry['time']} (revision {record['revision']}) although "
                f"its heartbeat of {heard.sent:.3f} was taken at {heard.acknowledged:.3f}"))
        else:
            # The broker had not taken it in time, if it tried to speak at all: nobody else knows of it.
            evidence.figures["offline_unheard" if tried else "offline_silent"] += 1


def between(speech, start, end):
    """The heartbeats sent in that time."""
    first = bisect.bisect_left(speech, start, key=lambda heartbeat: heartbeat.sent)
    last = bisect.bisect_left(speech, end, key=lambda heartbeat: heartbeat.sent)
    return speech[first:last]


def checked_in(evidence, entry, speech, first_wake, last_failure):
    """(a heartbeat that was a check-in, whether one was tried): sent after the cycle's first wake, taken before the
    deadline of its last. What was lost with an ingest was followed by a repeat of the wake: it must be later than that."""
    record = entry["record"]
    if first_wake is None:
        return None, False
    last_wake = record["last_wake_sent_at"]
    last_wake = evidence.true_time(last_wake) if last_wake else first_wake
    if last_failure is not None:
        last_wake = max(last_wake, last_failure)
    deadline = last_wake + span(record["policy"]["checkin_deadline"])
    tried = [
        heartbeat for heartbeat in between(speech, first_wake, deadline)
        if status_of(heartbeat) in ALIVE
        and getattr(heartbeat, "generation", None) in (None, record["lifecycle_generation"])
    ]
    in_time = (
        heartbeat for heartbeat in tried if heartbeat.acknowledged and heartbeat.acknowledged < deadline
        and (heartbeat.sent > last_wake or evidence.is_certain(heartbeat)))
    return next(in_time, None), bool(tried)


def did_not_lapse(evidence, entry, speech, returns=()):
    """(a heartbeat by which it could not have lapsed yet, whether it tried to speak): one in time itself, after
    which the silence was shorter than allowed. After an outage of any part an agent is promised less, and when its gateway
    has returned (at one of these times) what it said before says nothing."""
    at = evidence.true_time(entry["time"])
    policy = entry["record"]["policy"]
    allowed = span(policy["offline_after"])
    after_outage = span(policy["heartbeat_interval"]) + span(policy["checkin_deadline"])
    is_calm = evidence.is_calm(at - 2 * allowed - OWNER_CHANGES, at)
    recent = between(speech, at - allowed, at)
    # By when the next one has to be heard, as far as that is known.
    due = None
    if is_calm:
        earlier = [heartbeat for heartbeat in between(speech, at - 2 * allowed, at - allowed) if heartbeat.acknowledged]
        due = earlier[-1].sent + allowed if earlier else None
    returned = max((each for each in returns if each < at), default=None)
    if returned is not None:
        recent = [heartbeat for heartbeat in recent if heartbeat.sent > returned]
        due = min(due or at, returned + span(policy["lost_grace"]))
    # A Last Will gives it `lost_grace` from then on: only what came later counts.
    for index, heartbeat in reversed(list(enumerate(recent))):
        if status_of(heartbeat) == "lost":
            due = heartbeat.sent + span(policy["lost_grace"])
            # Its silence may be over sooner.
            heard = [each for each in between(speech, at - 2 * allowed, heartbeat.sent) if each.acknowledged]
            if heard:
                due = min(due, heard[-1].sent + allowed)
            recent = [each for each in recent[index + 1:] if each.sent > (heartbeat.acknowledged or at)]
            break
    tried = [heartbeat for heartbeat in recent if status_of(heartbeat) != "stopping"]
    for heartbeat in tried:
        if not heartbeat.acknowledged:
            continue
        is_in_time = heartbeat.acknowledged < min(at, due or at - VERDICT_TAKES)
        if is_in_time and (is_calm or heartbeat.sent > at - after_outage):
            return heartbeat, True
        # One that came late counts unless the verdict was being made already.
        if is_calm and heartbeat.acknowledged < at - VERDICT_TAKES:
            due = heartbeat.sent + allowed
    return None, bool(tried)


def status_of(heartbeat):
    return getattr(heartbeat, "status", "ok")


def check_goodbye(evidence, agent, entry, speech, found):
    """Nobody said goodbye for it."""
    at = evidence.true_time(entry["time"])
    if not any(status_of(each) == "stopping" and each.sent < at + 1 for each in speech):
        found.append(Violation("false_offline", agent, f"goodbye at {entry['time']}, which it never said"))
