"""The order of the house: who may import whom, what pure code may not do, how long things are, where links lead."""

import pathlib
import re
import subprocess
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FILE_LINES_MAX, FUNCTION_LINES_MAX = 400, 60
# What each directory may import; arrows point down. The libraries of the system stand apart, below.
PURE = {
    "Shared/Model": set(),
    "Shared/Lifecycle": {"Model"},
    "Shared/API": {"Model"},
    "Shared/Wire": {"API", "Lifecycle", "Model"},
    "Shared/Streams": {"API", "Model", "Wire"},
    "Shared/Storage": {"API", "Lifecycle", "Model", "Wire"},
    "Shared/MemoryStorage": {"API", "Lifecycle", "Model", "Storage", "Wire"},
    "Shared/Alerts": {"API", "Model", "Wire"},
    "Shared/Doctor": {"API", "Lifecycle", "Model"},
    "Services/BrokerAccess/Core": set(),
    "Services/ControlAPI/Core": {"API", "Doctor", "Model", "Wire"},
    "Services/HeartbeatIngest/Core": {"API", "Model", "Streams", "Wire"},
    "Services/Provisioner/Core": {"API", "Lifecycle", "Model", "Streams", "Wire"},
    "Services/Reconciler/Core": {"API", "Lifecycle", "Model", "Streams", "Wire"},
    "Services/StatusStore/Core": {"API", "Lifecycle", "Model", "Storage", "Streams", "Wire"},
}
ADAPTERS = {
    "Shared/Secrets": set(),
    "Shared/Bus": {"API", "Model", "Secrets", "Streams", "Wire"},
    "Shared/HTTP": {"API", "Bus", "Model"},
    "Shared/SQLiteStorage": {"API", "Lifecycle", "Model", "Storage", "Wire"},
    "Shared/ServiceHost": {"API", "Bus", "HTTP", "Lifecycle", "Model", "Secrets", "Wire"},
    "Shared/AlertDelivery": {"API", "Alerts", "Bus", "Model", "Secrets", "ServiceHost"},
    "Services/BrokerAccess/Plugin": {"BrokerAccessCore", "Secrets"},
    "Services/ControlAPI/Executable": {
        "API", "AlertDelivery", "Alerts", "Bus", "ControlAPICore", "HTTP", "Model", "Secrets", "ServiceHost", "Wire"},
    "Services/HeartbeatIngest/Executable": {
        "API", "Bus", "HeartbeatIngestCore", "Model", "Secrets", "ServiceHost", "Streams", "Wire"},
    "Services/Provisioner/Executable": {
        "API", "Bus", "Model", "ProvisionerCore", "Secrets", "ServiceHost", "Streams", "Wire"},
    "Services/Reconciler/Executable": {
        "API", "Bus", "Lifecycle", "Model", "ReconcilerCore", "ServiceHost", "Streams", "Wire"},
    "Services/StatusStore/Executable": {
        "API", "Bus", "Lifecycle", "Model", "SQLiteStorage", "ServiceHost", "StatusStoreCore", "Storage", "Streams",
        "Wire"},
    "Services/CommandLine/Operator": {
        "API", "AlertDelivery", "Alerts", "Bus", "Doctor", "Model", "SQLiteStorage", "Secrets", "ServiceHost",
        "Storage"},
    "Services/CommandLine/Runtime": {"API", "Bus", "Model", "ServiceHost"},
    "Services/CommandLine/Supervisor": {"API", "AlertDelivery", "Alerts", "Bus", "Model", "Secrets", "ServiceHost"},
    "Services/CommandLine/Bench": {"API", "Bus", "Model", "RollcallSupervisor", "ServiceHost", "Wire"},
    "Services/CommandLine/Executable": {
        "API", "RollcallBench", "RollcallOperator", "RollcallRuntime", "RollcallSupervisor", "ServiceHost"},
}
# A C library has one importer; CLinux is the kernel's interface, which several need.
LIBRARIES = {
    "CMosquitto": {"Shared/Bus"},
    "CMosquittoBroker": {"Services/BrokerAccess/Plugin"},
    "CSQLite": {"Shared/SQLiteStorage"},
    "CCrypto": {"Shared/Secrets"},
    "CMicroHTTPD": {"Shared/HTTP"},
    "CCurl": {"Shared/AlertDelivery"},
    "CDashboard": {"Services/ControlAPI/Executable"},
    "CLinux": {
        "Shared/Bus", "Shared/ServiceHost", "Services/CommandLine/Runtime", "Services/CommandLine/Supervisor"},
    "FoundationEssentials": {"Shared/API", "Services/CommandLine/Bench"},
}
IMPORT = re.compile(r"^(?:@\w+ )?(?:(?:public|package|internal|private) )?import (?:\w+ )?(\w+)", re.MULTILINE)
# Readings of a clock and of chance: a pure value is given both.
IMPURE = re.compile(
    r"\bClock\.(?:now|stamp)\b|SystemRandomNumberGenerator|\.random\(|\bDate\(|ContinuousClock|SuspendingClock|"
    r"DispatchTime|\bawait\b|\basync\b|\bprint\(")
DECLARATION = re.compile(r"^( *)(?:(?:@\w+(?:\([^)]*\))? |[a-z]+(?:\(set\))? )*)(?:func |init[?(<]|deinit\b|subscript[(<])")
# Words that the glossary has replaced, as whole words or as the parts of a name, with those that stand for them.
REPLACED = {
    "receipt": "acknowledgement", "sighting": "last-seen update", "undertaking": "intent record", "surroundings": "context",
    "occupant": "slot generation",
    "keeping clock": "retention clock", "blindness": "suspension", "group work": "bulk operation", "commit room": "backpressure",
    "commit ledger": "acknowledgement tracker", "wake pace": "wake limiter", "turn came": "permit granted",
    "command desk": "command handler", "wake desk": "wake handler",
    "files desk": "files handler", "heartbeat line": "heartbeat subscription", "peer lives": "peer incarnations",
    "request turn": "request permit", "earlier life": "earlier incarnation", "another life": "another incarnation",
    "order quiet": "order drained", "desk": "handler",
}
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def swift_files(*directories):
    return [path for directory in directories for path in sorted((REPOSITORY / directory).rglob("*.swift"))]


def name_of(path):
    return str(path.relative_to(REPOSITORY))


def tracked(*patterns):
    listed = subprocess.run(
        ["git", "ls-files", "-z", *patterns], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [REPOSITORY / name for name in listed.split("\0") if name and (REPOSITORY / name).exists()]


def long_functions(text):
    """(line, length) of each declaration that is too long; swift-format puts its last brace below its first letter."""
    lines = text.split("\n")
    for start, line in enumerate(lines):
        match = DECLARATION.match(line)
        if not match or line.rstrip().endswith("}"):
            continue
        end = next((n for n in range(start + 1, len(lines)) if lines[n].rstrip() == match[1] + "}"), start)
        following = next(
            (n for n in range(start + 1, len(lines)) if DECLARATION.match(lines[n]) and n < end
             and len(DECLARATION.match(lines[n])[1]) <= len(match[1])), None)
        if following is None and end - start + 1 > FUNCTION_LINES_MAX:
            yield start + 1, end - start + 1


def anchors(text):
    """The fragments that the headings of a document can be reached by."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Tidy(unittest.TestCase):
    maxDiff = None

    def test_arrows_point_down(self):
        allowed = {**PURE, **ADAPTERS}
        found = []
        for directory, modules in allowed.items():
            for path in swift_files(directory):
                for module in IMPORT.findall(path.read_text()):
                    if module in LIBRARIES:
                        if directory not in LIBRARIES[module]:
                            found.append(f"{name_of(path)} imports {module}")
                    elif module in ("Glibc", "Synchronization"):
                        if directory in PURE:
                            found.append(f"{name_of(path)} imports {module}")
                    elif module not in modules:
                        found.append(f"{name_of(path)} imports {module}")
        self.assertEqual(found, [])

    def test_every_directory_has_its_row(self):
        known = [*PURE, *ADAPTERS]
        strangers = [
            name_of(path) for path in swift_files("Services", "Shared")
            if not any(name_of(path).startswith(directory + "/") for directory in known)]
        self.assertEqual(strangers, [])

    def test_pure_code_reads_no_clock_and_no_chance(self):
        found = [
            f"{name_of(path)}:{number}: {line.strip()}"
            for path in swift_files(*PURE) for number, line in enumerate(path.read_text().split("\n"), 1)
            if IMPURE.search(line.partition("//")[0])]
        self.assertEqual(found, [])

    def test_files_and_functions_are_short(self):
        found = []
        for path in swift_files("Services", "Shared", "Tests"):
            text = path.read_text()
            lines = text.count("\n")
            if lines > FILE_LINES_MAX:
                found.append(f"{name_of(path)} has {lines} lines")
            # The data of a test may be long.
            if name_of(path).startswith(("Services", "Shared", "Tests/Simulation/")):
                found += [f"{name_of(path)}:{line} has {length} lines" for line, length in long_functions(text)]
        self.assertEqual(found, [])

    def test_replaced_words_are_gone(self):
        words = re.compile("|".join(rf"\b{word}" for word in REPLACED))
        found = []
        for path in tracked("*.swift", "*.py", "*.md", "*.yaml"):
            # The names inside a database stay as they are.
            if path == pathlib.Path(__file__).resolve() or name_of(path).startswith("Shared/SQLiteStorage/"):
                continue
            for number, line in enumerate(path.read_text().split("\n"), 1):
                # `unreadReceiptsMax` is read as "unread receipts max".
                parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", line).replace("_", " ").lower()
                found += [f"{name_of(path)}:{number}: {word}: {REPLACED[word]}" for word in words.findall(parts)]
        self.assertEqual(found, [])

    def test_links_lead_somewhere(self):
        found = []
        for document in tracked("*.md"):
            text = document.read_text()
            for match in LINK.finditer(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
                target, _, fragment = match["target"].partition("#")
                if target.startswith(("http:", "https:", "mailto:")):
                    continue
                path = (document.parent / target).resolve() if target else document
                if not path.exists():
                    found.append(f"{name_of(document)}: {match['target']}")
                elif fragment and path.suffix == ".md" and fragment not in anchors(path.read_text()):
                    found.append(f"{name_of(document)}: no heading {match['target']}")
        self.assertEqual(found, [])

    def test_nothing_is_left_unfinished(self):
        mark = re.compile("FIX" + "ME|TO" + r"DO\b|not imple" + "mented")
        found = [
            f"{name_of(path)}:{number}: {line.strip()}"
            for path in tracked("Services", "Shared", "Tests/*.swift", "Tests/*.py", "infra")
            if path.suffix in (".swift", ".py", ".md", ".yaml", "") for number, line in
            enumerate(path.read_text(errors="replace").split("\n"), 1) if mark.search(line)]
        self.assertEqual(found, [])


class Itself(unittest.TestCase):
    """What these tests look for they would find."""

    def test_a_long_function(self):
        body = "\n".join("        work()" for _ in range(FUNCTION_LINES_MAX))
        text = f"struct S {{\n    mutating func work(\n        one: Int\n    ) {{\n{body}\n    }}\n}}\n"
        self.assertEqual([line for line, _ in long_functions(text)], [2])

    def test_imports_of_every_form(self):
        text = "public import A\ninternal import B\n@testable import C\nimport struct D.E\nimport F"
        self.assertEqual(IMPORT.findall(text), ["A", "B", "C", "D", "F"])

    def test_a_clock(self):
        self.assertTrue(IMPURE.search("let now = Clock.now()"))
        self.assertFalse(IMPURE.search("let clock = KeepingClock(now: now)"))

    def test_headings(self):
        self.assertIn("what-is-old-is-not-believed", anchors("## What is old is not believed"))


if __name__ == "__main__":
    unittest.main()
