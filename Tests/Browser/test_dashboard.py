"""The dashboard in a real browser: what an operator sees, finds and does, and that nothing foreign runs in it."""

import csv
import io
import json
import os
import pathlib
import re
import signal
import unittest
import urllib.error
import urllib.request

from axe_playwright_python.sync_playwright import Axe
from mqtt_client import TOPIC_ROOT
from playwright.sync_api import expect, sync_playwright

from rollcall_system import RollcallSystem, wait_until

# A debug build on a busy machine is slow; nothing here waits for long when all is well.
expect.set_options(timeout=20_000)
CHROMIUM = "/usr/bin/chromium"


class DashboardInBrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = cls.enterClassContext(RollcallSystem(
            "--demo", "12", "--checkin-deadline", "2s", "--heartbeat-interval", "1s", "--offline-after", "5s",
            "--lost-grace", "2s", "--max-wake-attempts", "2"))
        cls.url = cls.system.env["ROLLCALL_HTTP"] + "/"
        cls.token = cls.system.env["ROLLCALL_HTTP_TOKEN"]
        cls.system.cli("add-gateway", "lab", check=True)
        wait_until(lambda: cls.system.expect("summary")["by_gateway"]["demo"]["total"] == 12, 60, "the demo")
        playwright = cls.enterClassContext(sync_playwright())
        # As root, and where /dev/shm is small.
        cls.browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        cls.addClassCleanup(cls.browser.close)

    def open(self, fragment="", token=None, **options):
        """A page of a fresh browser, past the question for a token unless that is to be seen."""
        context = self.browser.new_context(**options)
        self.addCleanup(context.close)
        page = context.new_page()
        self.complaints = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.url + fragment)
        if token != "":
            page.get_by_label("An operator's token").fill(token or self.token)
            page.keyboard.press("Enter")
            expect(page.locator("#link")).to_have_text("● live")
        return page

    def provision(self, agent, **members):
        return self.system.expect("provision", {"agent": agent, "role": "worker", "board": "hall", **members})["token"]

    def row(self, page, agent):
        return page.get_by_role("row").filter(has=page.get_by_role("link", name=agent, exact=True))

    def shot(self, page, name):
        """Kept where ROLLCALL_SCREENSHOTS says, to be looked at."""
        if directory := os.environ.get("ROLLCALL_SCREENSHOTS"):
            page.wait_for_timeout(1200)
            page.screenshot(path=pathlib.Path(directory) / f"{name}.png")

    def test_the_page_is_its_own(self):
        page = self.open(token="")
        expect(page.get_by_label("An operator's token")).to_be_focused()
        self.shot(page, "login")
        with urllib.request.urlopen(self.url) as answer:
            self.assertIn("require-trusted-types-for 'script'", answer.headers["Content-Security-Policy"])
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
        names = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
        self.assertGreater(len(names), 5)
        self.assertEqual([name for name in names if not name.startswith(self.url)], [])
        self.assertEqual(self.complaints, [])

    def test_a_wrong_token_is_told(self):
        page = self.open(token="")
        page.get_by_label("An operator's token").fill("wrong")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("alert")).to_contain_text("This token is not accepted")
        self.assertIsNone(page.evaluate("sessionStorage.getItem('rollcall-token')"))

    def test_the_token_can_be_forgotten(self):
        page = self.open()
        page.reload()
        expect(page.locator("#link")).to_have_text("● live")
        page.get_by_role("button", name="Forget token").click()
        expect(page.get_by_label("An operator's token")).to_be_visible()
        page.reload()
        expect(page.get_by_label("An operator's token")).to_be_visible()

    def test_the_fleet_is_seen(self):
        page = self.open("#/?q=gateway:demo")
        expect(page.get_by_role("grid", name="Agents")).to_have_attribute("aria-rowcount", "13")
        expect(page.get_by_role("row").filter(has_text="demo/")).to_have_count(12)
        expect(self.row(page, "demo/main")).to_contain_text("online")
        expect(page.locator("#sentence")).to_have_text(re.compile(r"of \d+ agents needs? you\.$"))
        self.shot(page, "fleet-light")
        self.assertEqual(self.complaints, [])

    def test_an_agent_that_falls_silent_shows_without_reload(self):
        token = self.provision("lab/ada", policy={"offline_after": "15s"})
        page = self.open("#/?q=lab/ada")
        urllib.request.urlopen(urllib.request.Request(
            self.url + "api/v1/agent/heartbeat", method="POST", headers={"X-Agent-Token": token}))
        expect(self.row(page, "lab/ada")).to_contain_text("online")
        expect(self.row(page, "lab/ada")).to_contain_text("offline", timeout=60_000)
        expect(self.row(page, "lab/ada")).to_contain_text("no check-in after 2 wakes")
        expect(page.locator("#sentence")).to_have_text(re.compile("needs? you"))
        self.assertEqual(self.complaints, [])

    def test_filters_lie_in_the_address(self):
        self.provision("lab/idle", wake=False)
        page = self.open()
        page.get_by_role("button", name=re.compile("offline")).click()
        page.get_by_role("searchbox", name="Search").fill("lab/idle")
        expect(page).to_have_url(re.compile(r"#/\?status=offline&q=lab%2Fidle$"))
        expect(self.row(page, "lab/idle")).to_contain_text("never woken")
        page.reload()
        expect(page.get_by_role("button", name=re.compile("offline"))).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_role("searchbox", name="Search")).to_have_value("lab/idle")
        expect(page.get_by_role("row").filter(has_text="/")).to_have_count(1)
        for query, count in (("status:offline", 1), ("status:online", 0), ("paused:no", 1), ("paused:yes", 0), ("stale:yes", 0)):
            page.get_by_role("searchbox", name="Search").fill(f"lab/idle {query}")
            expect(page.get_by_role("row").filter(has_text="/")).to_have_count(count)

    def test_an_agent_is_woken_from_its_page(self):
        self.provision("lab/cleo", wake=False, policy={"checkin_deadline": "60s"})
        page = self.open("#/agent/lab/cleo")
        expect(page.get_by_text("offline: never woken")).to_be_visible()
        expect(page.get_by_text("rollcall wake lab/cleo", exact=True)).to_be_visible()
        expect(page.get_by_text("lab/cleo is offline: nobody has woken it yet agent.never_woken")).to_be_visible()
        page.get_by_role("button", name="Wake").click()
        expect(page.get_by_text("wake: done")).to_be_visible()
        expect(page.get_by_text("Its check-in is due in")).to_be_visible()
        expect(page.locator(".history")).to_contain_text("woken")
        self.assertGreaterEqual(self.system.expect("get", {"agent": "lab/cleo"})["record"]["lifecycle_generation"], 1)
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        expect(page.get_by_text("paused by agent agent.paused")).to_be_visible()
        self.shot(page, "agent-light")
        self.assertEqual(self.complaints, [])

    def test_a_reader_is_told_that_it_may_not_wake(self):
        made = self.system.cli("token", "create", "reader", "--scope", "read", "--data", self.system.data, check=True)
        token = made.stdout.split()[-1]
        self.provision("lab/rex", wake=False)
        wait_until(lambda: self.may_read(token), 10, "the new token")
        page = self.open("#/agent/lab/rex", token=token)
        page.get_by_role("button", name="Wake").click()
        expect(page.get_by_text("this takes operate")).to_be_visible()

    def may_read(self, token):
        try:
            return urllib.request.urlopen(urllib.request.Request(
                self.url + "api/v1/summary", headers={"Authorization": f"Bearer {token}"})).status == 200
        except urllib.error.HTTPError:
            return False

    def test_everything_is_reached_by_keys(self):
        self.provision("lab/kim", wake=False)
        page = self.open()
        page.keyboard.press("/")
        page.keyboard.type("lab/kim")
        expect(page.get_by_role("row").filter(has_text="/")).to_have_count(1)
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        expect(page.get_by_role("grid", name="Agents")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="lab/kim")).to_be_visible()
        page.keyboard.press("w")
        expect(page.get_by_text("wake: done")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("grid", name="Agents")).to_be_visible()
        for key, title in (("e", "Events"), ("s", "System"), ("f", "Fleet")):
            page.keyboard.press("g")
            page.keyboard.press(key)
            expect(page.get_by_role("heading", name=title, exact=True)).to_be_attached()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        self.assertEqual(self.complaints, [])

    def test_events_are_seen_and_held(self):
        page = self.open("#/events")
        self.provision("lab/eve", wake=False)
        expect(page.locator(".history li").filter(has_text="lab/eve")).to_have_count(1)
        page.get_by_role("button", name="Hold").click()
        self.provision("lab/eva", wake=False)
        expect(page.get_by_text("wait")).to_be_visible()
        expect(page.locator(".history li").filter(has_text="lab/eva")).to_have_count(0)
        page.get_by_role("button", name="Go on").click()
        expect(page.locator(".history li").filter(has_text="lab/eva")).to_have_count(1)
        self.shot(page, "events-light")

    def test_the_system_is_seen(self):
        page = self.open("#/system", color_scheme="dark")
        for name in ("demo", "reconciler/1", "status-store/1"):
            expect(page.get_by_role("cell", name=name, exact=True)).to_be_visible()
        self.shot(page, "system-dark")
        self.assertEqual(self.complaints, [])

    def test_a_store_that_stands_still_is_told(self):
        page = self.open("#/system")
        expect(page.locator("#sentence")).not_to_have_text("Reading the fleet …")
        store = self.system.child("status-store")
        os.kill(store, signal.SIGSTOP)
        try:
            expect(page.locator("#link")).to_have_text(re.compile(r"nothing is judged since \d\d:\d\d:\d\d"))
            expect(page.locator("#sentence")).to_have_text(re.compile("^Before that: "))
            expect(page.locator("#found")).to_have_text(re.compile(r"^\d+ findings?$"), timeout=60_000)
            expect(page.locator(".findings")).to_contain_text("status-store", timeout=60_000)
            self.shot(page, "silent-light")
        finally:
            os.kill(store, signal.SIGCONT)
        expect(page.locator("#link")).to_have_text("● live")
        expect(page.locator(".findings")).not_to_contain_text("status-store", timeout=60_000)

    def test_many_are_chosen_and_paused(self):
        for name in ("una", "ulf", "uwe"):
            self.provision(f"lab/{name}", wake=False)
        page = self.open("#/?q=lab%2Fu")
        expect(page.get_by_role("grid", name="Agents")).to_have_attribute("aria-rowcount", "4")
        page.get_by_role("checkbox", name="Choose all that are shown").check()
        page.get_by_role("checkbox", name="Choose lab/uwe").uncheck()
        expect(page.get_by_text("2 chosen")).to_be_visible()
        self.shot(page, "chosen-light")
        page.get_by_role("button", name="Pause…").click()
        dialog = page.get_by_role("dialog", name="Pause 2 agents")
        expect(dialog.get_by_role("button", name="Pause")).to_be_disabled()
        dialog.get_by_label("Type 2 to confirm").fill("2")
        page.keyboard.press("Enter")
        expect(dialog.get_by_text("2 of 2")).to_be_visible()
        paused = {
            record["agent"]: record["paused"] for record in self.system.expect("list", {"gateway": "lab"})["records"]}
        self.assertEqual(
            [paused[f"lab/{name}"] for name in ("una", "ulf", "uwe")], [True, True, False])
        dialog.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Wake…").click()
        dialog = page.get_by_role("dialog", name="Wake 2 agents")
        expect(dialog.get_by_text("Wakes go out at 50 a second for each gateway: 0 s at least.")).to_be_visible()
        self.shot(page, "bulk-light")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        # By keys alone, and one of them alone.
        page.keyboard.press("Space")
        page.keyboard.press("j")
        expect(page.get_by_text("1 chosen")).to_be_visible()
        self.assertEqual(self.complaints, [])

    def test_what_is_shown_is_sorted_and_saved(self):
        for name, board in (("zoe", "attic"), ("zac", "cellar"), ("zia", "barn")):
            self.provision(f"lab/{name}", wake=False, board=board)
        page = self.open("#/?q=lab%2Fz")
        column = page.get_by_role("columnheader", name="Board")
        column.get_by_role("button").click()
        expect(column).to_have_attribute("aria-sort", "ascending")
        agents = page.get_by_role("row").filter(has_text="lab/z")

        def boards():
            rows = sorted((row.get_attribute("aria-rowindex"), row.inner_text()) for row in agents.all())
            return [text.split()[-1] for _, text in rows]
        wait_until(lambda: boards() == ["attic", "barn", "cellar"], 10, "the order")
        column.get_by_role("button").click()
        expect(page).to_have_url(re.compile("sort=-Board$"))
        wait_until(lambda: boards() == ["cellar", "barn", "attic"], 10, "the other order")
        with page.expect_download() as saved:
            page.get_by_role("button", name="JSON").click()
        rows = json.loads(pathlib.Path(saved.value.path()).read_text())
        self.assertEqual([row["agent"] for row in rows], ["lab/zac", "lab/zia", "lab/zoe"])
        self.assertEqual(rows[0]["why"], "never woken")
        with page.expect_download() as saved:
            page.get_by_role("button", name="CSV").click()
        self.assertRegex(saved.value.suggested_filename, r"^agents-\d{14}\.csv$")
        rows = list(csv.DictReader(io.StringIO(pathlib.Path(saved.value.path()).read_text())))
        self.assertEqual([(row["agent"], row["board"]) for row in rows], [
            ("lab/zac", "cellar"), ("lab/zia", "barn"), ("lab/zoe", "attic")])
        column.get_by_role("button").click()
        expect(page).to_have_url(re.compile("q=lab%2Fz$"))

    def test_gateways_are_heard_of(self):
        token = self.system.expect("add-gateway", {"gateway": "passing"})["token"]
        page = self.open("#/events")
        client = self.system.client("passing", token)
        self.addCleanup(client.close)
        for state in ("connected", "stopped"):
            client.publish(
                f"{TOPIC_ROOT}/gateways/passing/status", json.dumps({"state": state, "boot_id": "b"}), retain=True)
            line = page.locator(".history li").filter(has_text=f"gateway_{state}").filter(has_text="passing")
            expect(line).to_contain_text("0 agents behind it")
        self.assertEqual(self.complaints, [])

    def test_nothing_bars_anybody(self):
        """axe-core finds nothing, on every page, light and dark, nor in the dialogs."""
        self.provision("lab/axel", wake=False)
        for scheme in ("light", "dark"):
            page = self.open(token="", color_scheme=scheme)
            self.audit(page, f"login, {scheme}")
            page = self.open(color_scheme=scheme)
            for fragment in ("#/", "#/?q=lab%2Faxel", "#/agent/lab/axel", "#/events", "#/system"):
                page.goto(self.url + fragment)
                page.wait_for_timeout(1_000)
                self.audit(page, f"{fragment}, {scheme}")
            page.goto(self.url + "#/?q=lab%2Faxel")
            page.get_by_role("checkbox", name="Choose all that are shown").check()
            page.get_by_role("button", name="Wake…").click()
            self.audit(page, f"many, {scheme}")
            page.keyboard.press("Escape")
            page.keyboard.press("?")
            self.audit(page, f"help, {scheme}")

    def audit(self, page, what):
        found = Axe().run(page).response["violations"]
        self.assertEqual(
            [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found], [], what)

    def test_a_phone_shows_what_counts(self):
        page = self.open(viewport={"width": 390, "height": 780}, color_scheme="dark")
        expect(self.row(page, "demo/main").get_by_text("online")).to_be_visible()
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 390)
        self.shot(page, "fleet-phone")


if __name__ == "__main__":
    unittest.main()
