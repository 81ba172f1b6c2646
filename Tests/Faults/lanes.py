"""Operators at work: each lane asks for one change after the other, each until it is answered."""

import random
import threading
import time

from evidence import Command


class Worker(threading.Thread):
    """A lane: `change()` makes one change, `tidy()` undoes what must not stay."""

    def __init__(self, operator, seed, pause, name):
        super().__init__(daemon=True)
        self.commands = []
        self.random = random.Random(seed)
        self._operator = operator
        self._pause = pause
        self._label = name
        self._ending = threading.Event()
        self._give_up_at = float("inf")

    def finish(self, give_up_at):
        """No new changes; what is under way is given up at that time (monotonic)."""
        self._give_up_at = give_up_at
        self._ending.set()

    def run(self):
        while not self._ending.wait(self.random.expovariate(1 / self._pause)):
            self.change()
        self.tidy()

    def do(self, kind, request, agent="", **members):
        """The command, answered unless it was given up."""
        command = Command(kind, agent, f"{self._label}-{len(self.commands) + 1}", request, **members)
        self.commands.append(command)
        verb = kind.split()[0]
        self._operator.carry_out(command, verb, lambda: self._give_up_at)
        if command.is_answered and self.random.random() < 0.1:
            self._operator.repeat(command, verb)
        return command


class Lane(Worker):
    """Changes its own agents."""

    def __init__(self, operator, agents, seed, pause, name):
        super().__init__(operator, seed, pause, name)
        # By agent: the members of its provision.
        self._agents = agents
        self._names = sorted(agents)
        self._counter = {}
        self._paused = set()
        self._absent = set()

    def prepare(self, absent):
        """These agents do not exist yet: their first command provisions them."""
        self._absent |= absent

    def tidy(self):
        # Nobody stays paused: a silent agent is to end offline.
        for agent in sorted(self._paused):
            self.do("resume", {"agent": agent}, agent)

    def change(self):
        agent = self.random.choice(self._names)
        if agent in self._absent:
            self._absent.discard(agent)
            return self.do("provision", {"agent": agent, **self._agents[agent]}, agent)
        if agent in self._paused and self.random.random() < 0.5:
            self._paused.discard(agent)
            return self.do("resume", {"agent": agent}, agent)
        kind = self.random.choices(
            ["wake", "update --no-wake", "update", "provision", "pause", "delete", "rotate-token"],
            [5, 6, 2, 1, 2, 1, 1])[0]
        # Agents with an n in their name may be deleted.
        if kind == "delete" and "n" not in agent.split("/")[1] or kind == "pause" and agent in self._paused:
            kind = "wake"
        request = {"agent": agent}
        if kind.startswith("update"):
            self._counter[agent] = self._counter.get(agent, 0) + 1
            request["variables"] = {"n": str(self._counter[agent])}
            if kind == "update --no-wake":
                request["wake"] = False
        if kind == "rotate-token":
            request["now"] = self.random.random() < 0.5
        if kind == "pause":
            self._paused.add(agent)
        if kind == "delete":
            self._paused.discard(agent)
            self._absent.add(agent)
        self.do(kind, request, agent)


class GroupLane(Worker):
    """Pauses and resumes whole gateways and boards, and rotates the tokens of gateways that are connected."""

    def __init__(self, operator, gateways, boards, seed, pause, name):
        super().__init__(operator, seed, pause, name)
        self._gateways = gateways
        # Rotations whose every answer was without a token.
        self.tokens_withheld = 0
        self._groups = [("gateway", gateway.name) for gateway in gateways] + [("board", board) for board in boards]

    def tidy(self):
        pass  # `change` leaves nothing paused behind

    def change(self):
        if self.random.random() < 0.4:
            return self._rotate(self.random.choice(self._gateways))
        group = self.random.choice(self._groups)
        self.do("pause", dict([group]), group=group)
        time.sleep(self.random.uniform(0.5, 4))
        self.do("resume", dict([group]), group=group)


    def _rotate(self, gateway):
        """Until a token is known: the repeat of a rotation whose answer was lost may answer with none."""
        while not self._ending.is_set():
            command = self.do("rotate-token", {"gateway": gateway.name})
            tokens = [document["token"] for _, status, document in command.answers if status == 200]
            for token in filter(None, tokens):
                gateway.link.use(token)
            if any(tokens):
                return
            self.tokens_withheld += 1


class ChurnLane(Worker):
    """Adds a gateway with a few agents, changes it, removes it with them, and begins anew."""

    AGENTS = 3

    def __init__(self, operator, gateway, seed, pause, name):
        super().__init__(operator, seed, pause, name)
        self.gateway = gateway
        self.agents = tuple(f"{gateway}/c{number}" for number in range(ChurnLane.AGENTS))
        self.exists = False

    def tidy(self):
        self._remove()

    def change(self):
        if not self.exists:
            self.exists = self.do("add-gateway", {"gateway": self.gateway}).is_done
            for agent in self.agents:
                self.do("provision", {"agent": agent, "role": "worker", "board": "churn"}, agent)
            return
        kind = self.random.choices(["remove", "pause", "rotate", "policy"], [3, 2, 2, 1])[0]
        if kind == "remove":
            return self._remove()
        request = {"gateway": self.gateway}
        if kind == "pause":
            count = {"paused": len(self.agents)}
            self.do("pause", request, expects=count)
            self.do("resume", request, expects=count)
        elif kind == "rotate":
            self.do("rotate-token", {**request, "now": self.random.random() < 0.5})
        else:
            policy = {"checkin_deadline": self.random.choice(["1s", "2s", "3s"])}
            self.do("add-gateway", {**request, "policy": policy}, expects={"token": None})

    def _remove(self):
        if not self.exists:
            return
        command = self.do(
            "remove-gateway", {"gateway": self.gateway, "force": True}, deletes=self.agents,
            expects={"deleted_agents": len(self.agents)})
        # Nobody knows whether it is gone when nothing was answered; then it is not asked for any more.
        self.exists = None if not command.is_answered else False
