"""What a trial has asked, was answered, has seen and found; the checker judges it."""

import collections
import dataclasses
import datetime
import functools
import json

# Clocks are stepped by whole hours, and a trial is shorter than one: each stamp tells its true time.
STEP = 3600
# A heartbeat that the broker took is handed over by its ingest within this time, unless whoever must take it is away: the
# owner of its partition, the store that commits what follows from it, or the broker between them.
HANDED_OVER = 1
RECEIVERS = ("broker", "reconciler", "store", "disk")


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
    # Empty for one that is about many; then `group` may name them: ("gateway", "gw1"), ("board", "b1").
    agent: str
    key: str
    request: dict
    # When each copy was sent, and (time, status, document) of each answer, `unavailable` ones left out.
    sent: list = dataclasses.field(default_factory=list)
    answers: list = dataclasses.field(default_factory=list)
    group: tuple | None = None
    # Those that it deletes besides.
    deletes: tuple = ()
    # What the answer must say.
    expects: dict = dataclasses.field(default_factory=dict)

    @property
    def is_answered(self):
        return bool(self.answers)

    @property
    def is_done(self):
        return self.is_answered and self.answers[0][1] == 200

    def about(self, agent):
        """The same command, as far as it deletes this agent."""
        answers = [(time, status, {}) for time, status, _ in self.answers]
        return Command("delete", agent, self.key, self.request, self.sent, answers)


@dataclasses.dataclass
class Wake:
    agent: str
    received: float
    payload: dict


@dataclasses.dataclass(slots=True)
class Beats:
    """A heartbeat of each of these agents, which says nothing but that they live."""

    agents: tuple
    sent: float
    # When the broker had taken it; None: nobody knows whether it has.
    acknowledged: float | None = None


@dataclasses.dataclass(slots=True)
class Word:
    """One heartbeat with something in it."""

    agent: str
    status: str
    sent: float
    acknowledged: float | None = None
    generation: int | None = None


@dataclasses.dataclass
class Event:
    """A lifecycle event as an operator saw it; its text is read when it is needed."""

    id: str
    agent: str
    sequence: int
    text: bytes
    attributes: dict

    @property
    def payload(self):
        return json.loads(self.text)


@dataclasses.dataclass
class Evidence:
    """Times are seconds since 1970, by this process's clock."""

    commands: list = dataclasses.field(default_factory=list)
    wakes: list = dataclasses.field(default_factory=list)
    # In the order in which they arrived, repeats included.
    events: list = dataclasses.field(default_factory=list)
    # (agent, text of the record) of each status message, in order; None where the retained message was cleared.
    statuses: list = dataclasses.field(default_factory=list)
    # In the end: history oldest first, record (None: unknown agent) and text of the retained status of each agent.
    history: dict = dataclasses.field(default_factory=dict)
    records: dict = dataclasses.field(default_factory=dict)
    retained: dict = dataclasses.field(default_factory=dict)
    # Gateways that must be left in the end, and those that are.
    gateways: tuple = ((), ())
    silent: set = dataclasses.field(default_factory=set)
    beating: set = dataclasses.field(default_factory=set)
    # By group, the agents that were in it all the time.
    groups: dict = dataclasses.field(default_factory=dict)
    beats: list = dataclasses.field(default_factory=list)
    words: list = dataclasses.field(default_factory=list)
    # By party (`broker`, `gateway/gw1`, …): (start, end) of each time in which what it sends or gets may be late.
    spans: dict = dataclasses.field(default_factory=dict)
    # By gateway, when it said that it is connected.
    returns: dict = dataclasses.field(default_factory=dict)
    # Silent agents that were not offline, beating ones that were not online when the time to settle was over.
    unsettled: dict = dataclasses.field(default_factory=dict)
    # Some moment of the trial.
    reference: float | None = None
    # What is counted beside violations.
    figures: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def true_time(self, text):
        """When a stamp was made, whatever the clock that made it was stepped by."""
        stamp = seconds(text)
        if self.reference is None:
            return stamp
        return stamp - round((stamp - self.reference) / STEP) * STEP

    def is_late(self, agent, start, end):
        """Whether something between the provisioners and the agent's gateway may be the reason that a wake came late."""
        gateway = f"gateway/{agent.partition('/')[0]}"
        return any(
            first <= end and start <= last
            for party, spans in self.spans.items()
            if party in ("broker", "checker", gateway) or party.partition("/")[0] == "provisioner"
            for first, last in spans)

    def is_certain(self, heartbeat):
        """Whether an ingest has surely received, and lived to hand over, what the broker took: nothing befell them then."""
        start, end = heartbeat.sent - HANDED_OVER, self.handed_over(heartbeat)
        return not any(
            first <= end and start <= last
            for party, spans in self.spans.items()
            if party.partition("/")[0] in ("broker", "ingest") for first, last in spans)

    def handed_over(self, heartbeat):
        """By when an ingest that lives has an acknowledgement for what the broker took."""
        absences = sorted(
            span for party, spans in self.spans.items() if party.partition("/")[0] in RECEIVERS for span in spans)
        end = heartbeat.acknowledged + HANDED_OVER
        for first, last in absences:
            if first > end:
                break
            if last >= heartbeat.acknowledged:
                end = max(end, last + HANDED_OVER)
        return end

    def is_calm(self, start, end):
        """Whether nothing at all was wrong in that time."""
        return not any(first <= end and start <= last for spans in self.spans.values() for first, last in spans)

    @functools.cached_property
    def speech(self):
        """By agent: every heartbeat of it in the order of sending."""
        speech = collections.defaultdict(list)
        for beats in self.beats:
            for agent in beats.agents:
                speech[agent].append(beats)
        for word in self.words:
            speech[word.agent].append(word)
        for heartbeats in speech.values():
            heartbeats.sort(key=lambda heartbeat: heartbeat.sent)
        return speech


@functools.lru_cache(maxsize=1 << 16)
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
