"""Trials: a system under load, faults, and the comparison of what was answered and shown with what is stored.

    infra/scripts/faults --seeds 1-20

Prints one JSON document a line for each trial; exits with 1 when a promise was broken, and then keeps the evidence.
"""

import argparse
import ctypes
import dataclasses
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from faults import ISOLATED, KINDS
from stage import SERVICES, faketime, isolation

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Options:
    agents: int = 2000
    seconds: float = 600
    seed: int = 1
    kinds: tuple = KINDS
    services: tuple = tuple(SERVICES)
    # Of each service that may run more than once.
    instances: int = 2
    lanes: int = 12
    # Mean pause of a lane between two commands.
    pause: float = 1.0
    gateway_agents: int = 200
    # No fault is longer than this.
    longest: float | None = None
    build: str = ""
    evidence: str | None = None
    keep: bool = False


def parse(arguments):
    """(options, seeds)."""
    parser = argparse.ArgumentParser(
        prog="infra/scripts/faults", description="Runs a private system under load, lets faults befall it, and checks "
        "that nothing was lost, done twice, or judged wrongly. One JSON document a line on standard output.")
    parser.add_argument(
        "--agents", type=int, default=2000, help="half of them silent, a tenth moody, the others beat (default 2000)")
    parser.add_argument("--seconds", type=float, default=600, help="over which faults are spread (default 600)")
    parser.add_argument("--seed", type=int, help="of kinds, moments and victims (default: random)")
    parser.add_argument("--seeds", metavar="A-B", help="one trial for each, one after the other")
    parser.add_argument(
        "--faults", default=",".join(KINDS), help=f"kinds of faults, of {','.join(KINDS)} (default: all)")
    parser.add_argument(
        "--services", default=",".join(SERVICES), help="whose processes are killed and stopped (default: all)")
    parser.add_argument(
        "--instances", type=int, default=2, help="of reconciler, ingest and provisioner each (default 2)")
    parser.add_argument("--longest", type=float, help="no fault is longer than so many seconds (default: 45)")
    parser.add_argument("--build", choices=["debug", "release"], default="release", help="(default release)")
    parser.add_argument("--evidence", help="directory for logs, wakes, answers (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the evidence although nothing was broken")
    values = parser.parse_args(arguments)

    def chosen(text, option, known):
        names = tuple(name for name in text.split(",") if name)
        for name in names:
            if name not in known:
                parser.error(f"{option}: '{name}' is none of {', '.join(known)}")
        return names or parser.error(f"{option}: names none")

    seeds = [values.seed if values.seed is not None else random.randrange(1_000_000)]
    if values.seeds:
        if not (match := re.fullmatch(r"(\d+)-(\d+)", values.seeds)):
            parser.error(f"--seeds: '{values.seeds}' is not like 1-20")
        seeds = range(int(match[1]), int(match[2]) + 1)
    if values.agents < 20:
        parser.error("--agents: fewer than 20")
    return Options(
        agents=values.agents, seconds=values.seconds, kinds=chosen(values.faults, "--faults", KINDS),
        services=chosen(values.services, "--services", tuple(SERVICES)), instances=values.instances,
        longest=values.longest, build=str(REPOSITORY / ".build" / values.build), evidence=values.evidence,
        keep=values.keep), seeds


def left_out(kinds, is_isolated):
    """Kinds that cannot be done here, each with the reason."""
    reasons = {}
    for kind in kinds:
        if kind in ISOLATED and not is_isolated:
            reasons[kind] = "no network and mounts of its own: unshare(1) is refused (it needs root or user namespaces)"
        if kind == "clock" and not faketime():
            reasons[kind] = "libfaketime is not installed"
    return reasons


def end_with_parent():
    """SIGKILL when the thread that started this process ends (prctl(2))."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def run(options):
    """One trial in a process, a network and mounts of its own: (summary, violations)."""
    directory = pathlib.Path(options.evidence or tempfile.mkdtemp(prefix="rollcall-faults-"))
    directory.mkdir(parents=True, exist_ok=True)
    command = isolation()
    missing = left_out(options.kinds, command is not None)
    options = dataclasses.replace(
        options, kinds=tuple(kind for kind in options.kinds if kind not in missing),
        build=options.build or os.environ.get("ROLLCALL_BUILD") or str(REPOSITORY / ".build" / "debug"))
    if not options.kinds:
        raise SystemExit(f"faults: nothing can be done here: {missing}")
    (directory / "options.json").write_text(json.dumps(dataclasses.asdict(options)))
    inside = [sys.executable, str(pathlib.Path(__file__).with_name("inside.py")), str(directory)]
    if command is not None:
        # Whatever becomes of the trial, all that it has started ends with it.
        command = [*command, "--pid", "--fork", "--kill-child", "--mount-proc"]
        inside = [*command, *inside, "isolated"]
    status = subprocess.run(
        inside, stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=end_with_parent).returncode
    if not (directory / "summary.json").exists():
        raise RuntimeError(f"the trial ended with {status} before its summary; the evidence is in {directory}")
    summary = json.loads((directory / "summary.json").read_text())
    summary["left_out"] = missing
    violations = [json.loads(line) for line in (directory / "violations.jsonl").read_text().splitlines()]
    if violations or options.keep or options.evidence:
        # `infra/test` keeps there what a failed test leaves.
        if not options.evidence and (kept := os.environ.get("ROLLCALL_EVIDENCE")):
            directory = shutil.move(directory, kept)
        summary["evidence"] = str(directory)
    else:
        shutil.rmtree(directory)
    return summary, violations


def main():
    options, seeds = parse(sys.argv[1:])
    broken = False
    for seed in seeds:
        evidence = options.evidence
        if evidence and len(seeds) > 1:
            evidence = str(pathlib.Path(evidence) / str(seed))
        try:
            summary, violations = run(dataclasses.replace(options, seed=seed, evidence=evidence))
        except RuntimeError as failure:
            # The next seed may tell more.
            print(json.dumps({"seed": seed, "ok": False, "failed": str(failure)}), flush=True)
            broken = True
            continue
        for each in violations[:20]:
            print(f"{each['kind']}: {each['agent']}: {each['detail']}"[:600], file=sys.stderr)
        print(json.dumps(summary), flush=True)
        broken = broken or bool(violations)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
