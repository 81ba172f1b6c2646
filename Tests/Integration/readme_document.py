"""README.md as a test reads it: the tour's blocks, files, links, tables.

A fenced block is meant for the tests when a comment stands directly above it:

    <!-- tour: 2 -->       commands of terminal 2 (`$ …`) and what they print
    <!-- file: NAME -->    a file that the reader is told to save as NAME
"""

import re
from dataclasses import dataclass, field

MARKED = re.compile(r"^<!-- (?P<kind>tour|file): (?P<name>\S+) -->\n```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# A line that stands for any number of lines.
ANY_LINES = "…"


@dataclass
class Step:
    """Lines of one terminal: a command and what it prints, or (no command) what the one that runs prints further."""

    terminal: str
    command: str | None
    output: list[str] = field(default_factory=list)


def tour(text):
    """The steps of the tour, in the order of the document."""
    steps = []
    for match in MARKED.finditer(text):
        if match["kind"] != "tour":
            continue
        current = None
        continues = False
        for line in match["text"].splitlines():
            if continues:
                current.command += "\n" + line
            elif line.startswith("$ "):
                current = Step(match["name"], line[2:])
                steps.append(current)
            else:
                if current is None:
                    current = Step(match["name"], None)
                    steps.append(current)
                current.output.append(line)
                continue
            continues = line.endswith("\\")
    return steps


def files(text):
    """The files that the reader is told to save, by name."""
    return {match["name"]: match["text"] for match in MARKED.finditer(text) if match["kind"] == "file"}


def relative_links(text):
    """The targets of links that are no URL, without their fragment."""
    targets = [match["target"] for match in LINK.finditer(FENCED.sub("", text))]
    return [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def section(text, title):
    """What stands below `## title`, up to the next heading of that level."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def masked(lines):
    """The lines without what differs from run to run: times, digests, ports, paths, and the columns these take."""
    return [_masked(line) for line in lines]


MASKS = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME"),
    (r"sha256:[0-9a-f]{64}", "DIGEST"),
    (r"(token id +)[0-9a-f]{12}\b", r"\1TOKEN"),
    (r"(http://127\.0\.0\.1:)\d+", r"\1PORT"),
    (r"(mqtt://127\.0\.0\.1:)\d+", r"\1PORT"),
    (r"'/[^']*(/\.rollcall/operator\.env)'", r"DIRECTORY\1"),
    (r"\b(now|\d+[smhd] ago)\b", "AGO"),
    # The tour runs with longer deadlines of as many characters.
    (r"\b(checkin_deadline|offline_after)=\d+s", r"\1=DEADLINE"),
    (r"(?<=\S) {2,}", "  "),
]


def _masked(line):
    for pattern, replacement in MASKS:
        line = re.sub(pattern, replacement, line)
    return line.rstrip()


def matches(expected, actual):
    """Whether the lines are those expected, in which `…` stands for any number of lines."""
    if not expected:
        return not actual
    if expected[0] == ANY_LINES:
        return any(matches(expected[1:], actual[skipped:]) for skipped in range(len(actual) + 1))
    return bool(actual) and expected[0] == actual[0] and matches(expected[1:], actual[1:])
