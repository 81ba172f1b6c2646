"""How the broker learns who exists, forgets it, and remembers it, from outside."""

import os
import stat
import time
import unittest

from broker import ADMINISTRATIVE_ACTION, CONTROL, NOT_AUTHORIZED, ROOT, STORE, Broker, Client, digest, secret_of
from case import AccessCase
from rollcall_system import wait_until


class HowIdentitiesChange(AccessCase):
    options = ("persistence true",)

    def test_only_the_status_store_may_change_identities(self):
        line = f"set gw1/a1 {digest('stolen')}"
        for username in ["op:alice", "svc:provisioner/1", "gw1", "gw1/a1"]:
            self.assert_refused(self.connected(username).publish(CONTROL, line))
        self.assert_refused(self.store.subscribe(CONTROL))
        self.assertFalse(self.admits("gw1/a1", "stolen"))
        self.assertTrue(self.admits("gw1/a1"))

    def test_a_secret_works_as_soon_as_it_is_acknowledged(self):
        for number in range(50):
            name = f"gw1/new{number}"
            self.assertEqual(self.control(f"set {name} {digest(secret_of(name))}"), 0)
            self.assertTrue(self.admits(name))

    def test_a_line_that_makes_no_sense_refuses_the_whole_publish(self):
        good = f"set gw9 {digest(secret_of('gw9'))}"
        for bad in [
            "set gw9/a", f"set op:eve {digest('x')}", "set gw9/a 12", "overlap gw9 " + digest("x") + " 0",
            "remove #", "drop everything", "commit",
        ]:
            self.assert_refused(self.control(good, bad))
            self.assertFalse(self.admits("gw9"), bad)
        self.assertEqual(self.control("# a comment", "", good), 0)
        self.assertTrue(self.admits("gw9"))
        self.assertIsNone(self.store.end(0.1), "the store stays connected")

    def test_a_removed_identity_is_gone_within_a_second(self):
        will = (f"{ROOT}/agents/gw1/a1/heartbeat", "lost", None)
        agent, gateway = self.connected("gw1/a1", will=will), self.connected("gw1")
        watcher = self.connected("svc:control-api/1")
        watcher.subscribe(f"{ROOT}/agents/+/+/heartbeat")
        began = time.monotonic()
        self.assertEqual(self.control("remove gw1/a1"), 0)
        self.assertFalse(self.admits("gw1/a1"))
        self.assertEqual(agent.end(), ADMINISTRATIVE_ACTION)
        took = time.monotonic() - began
        print(f"\na removed identity was gone after {took:.3f} s")
        self.assertLess(took, 5)
        self.assertIsNone(gateway.end(0.3), "its gateway stays")
        self.assertIsNone(watcher.receive(0.3), "nothing speaks for the removed")
        self.assertEqual(self.control("remove gw1"), 0)
        self.assertEqual(gateway.end(), ADMINISTRATIVE_ACTION)
        self.assertTrue(self.admits("gw1/a2"), "removing a gateway removes exactly that username")

    def test_a_replaced_secret_closes_connections_that_used_it(self):
        agent = self.connected("gw1/a1")
        self.assertEqual(self.control(f"set gw1/a1 {digest('second')}"), 0)
        self.assertFalse(self.admits("gw1/a1"))
        self.assertEqual(agent.end(), ADMINISTRATIVE_ACTION)
        second = self.connected("gw1/a1", "second")
        self.assertEqual(self.control(f"set gw1/a1 {digest('second')}"), 0)
        self.assertIsNone(second.end(0.5), "a repeat changes nothing")

    def test_two_secrets_overlap_until_the_new_one_is_used(self):
        agent = self.connected("gw1/a1", client_id="gw1/a1~old")
        self.assertEqual(self.control(f"overlap gw1/a1 {digest('second')} 600"), 0)
        self.assertTrue(self.admits("gw1/a1"))
        self.assertIsNone(agent.end(0.5))
        self.assertTrue(self.admits("gw1/a1", "second"))
        self.assertFalse(self.admits("gw1/a1"))
        self.assertEqual(agent.end(), ADMINISTRATIVE_ACTION)

    def table(self, *lines):
        """A whole table as the store sends it, with `gw1` and these lines."""
        return self.control("begin", f"set gw1 {digest(secret_of('gw1'))}", *lines, "commit")

    def rotated(self, seconds=600):
        """What a table tells of `gw1/a1`, whose secret was rotated."""
        return [f"set gw1/a1 {digest(secret_of('gw1/a1'))}", f"overlap gw1/a1 {digest('second')} {seconds}"]

    def test_a_table_brings_an_overlap_that_the_broker_never_heard_of(self):
        agent = self.connected("gw1/a1", client_id="gw1/a1~old")
        self.assertEqual(self.table(*self.rotated()), 0)
        self.assertIsNone(agent.end(0.5), "nobody who was let in is put out")
        self.assertTrue(self.admits("gw1/a1"))
        self.assertEqual(self.control(self.rotated()[1]), 0)
        self.assertTrue(self.admits("gw1/a1"), "the change itself, behind its table, is nothing new")
        self.assertTrue(self.admits("gw1/a1", "second"))
        self.assertEqual(agent.end(), ADMINISTRATIVE_ACTION)
        self.assertFalse(self.admits("gw1/a1"))
        self.assertEqual(self.table(*self.rotated()), 0)
        self.assertFalse(self.admits("gw1/a1"), "an overlap that is over does not begin again")

    def test_the_store_is_told_which_new_secrets_were_used(self):
        self.store.subscribe(f"{ROOT}/internal/used-secrets")
        line = f"gw1/a1 {digest('second')}\n".encode()
        self.assertEqual(self.table(*self.rotated()), 0)
        self.assertTrue(self.admits("gw1/a1"))
        self.assertIsNone(self.store.receive(0.3))
        self.assertTrue(self.admits("gw1/a1", "second"))
        self.assertEqual(self.store.receive().payload, line)
        self.assertEqual(self.table(*self.rotated()), 0)
        self.assertEqual(self.store.receive().payload, line, "again, as its table did not know")
        self.assertEqual(self.table(f"set gw1/a1 {digest('second')}"), 0)
        self.assertIsNone(self.store.receive(0.3))
        for username, secret in (("op:alice", None), ("gw1", None), ("gw1/a1", "second")):
            self.assert_refused(self.connected(username, secret).subscribe(f"{ROOT}/internal/used-secrets"))

    def test_the_store_is_answered_by_the_plugin_itself(self):
        self.assertEqual(self.store.subscribe(f"{ROOT}/internal/access"), 1)
        self.assertEqual(self.control("begin", "commit", "answer i1.7"), 0)
        message = self.store.receive()
        self.assertEqual((message.topic, message.payload), (f"{ROOT}/internal/access", b"i1.7"))
        self.assert_refused(self.control("answer i1.8", "nonsense"))
        self.assert_refused(self.control("answer"))
        self.assertIsNone(self.store.receive(0.5))

    def test_the_ingest_is_told_which_agents_were_refused_for_their_secret(self):
        self.assertEqual(self.store.subscribe(f"{ROOT}/internal/refusals"), 1)
        began = time.monotonic()
        for _ in range(20):
            self.assertFalse(self.admits("gw1/a1", "wrong"))
        self.assertFalse(self.admits("gw1/a2", ""))
        for username, secret in [("gw1", "wrong"), ("gw1/nobody", "x"), ("op:alice", "wrong"), ("a b/c", "x")]:
            self.assertFalse(self.admits(username, secret))
        self.assertTrue(self.admits("gw2/a1"))
        told = []
        while (message := self.store.receive(4)) is not None:
            told.append(message.payload.decode().split("\n"))
            lasted = time.monotonic() - began
        self.assertEqual({name for names in told for name in names}, {"gw1/a1 bad_token", "gw1/a2 bad_token"})
        for names in told:
            self.assertEqual(names, sorted(set(names)), "each once a second")
        self.assertLessEqual(len(told), lasted + 2)

    def test_a_table_brings_overlaps_to_a_broker_that_forgot_everything(self):
        self.broker.kill()
        self.broker.state.unlink()
        self.broker.start()
        self.store = self.connected(STORE)
        self.assertEqual(self.table(*self.rotated(6)), 0)
        agent = self.connected("gw1/a1")
        self.broker.kill()
        self.broker.start()
        agent = self.connected("gw1/a1")
        self.assertEqual(agent.end(15), ADMINISTRATIVE_ACTION, "it ends in its time, remembered across a death")
        self.assertFalse(self.admits("gw1/a1"))
        self.assertTrue(self.admits("gw1/a1", "second"))

    def test_a_table_without_an_overlap_ends_it(self):
        """A secret that was replaced at once, of which the broker is told by the next table only."""
        self.assertEqual(self.control(f"overlap gw1/a1 {digest('second')} 600"), 0)
        first, second = self.connected("gw1/a1"), self.connected("gw1/a1", "second", client_id="gw1/a1~2")
        first.close()
        began = time.monotonic()
        self.assertEqual(self.table(f"set gw1/a1 {digest('third')}"), 0)
        self.assertEqual(second.end(), ADMINISTRATIVE_ACTION)
        self.assertLess(time.monotonic() - began, 5)
        self.assertFalse(self.admits("gw1/a1"))
        self.assertFalse(self.admits("gw1/a1", "second"))
        self.assertTrue(self.admits("gw1/a1", "third"))

    def test_an_overlap_ends_by_itself(self):
        self.assertEqual(self.control(f"overlap gw1/a1 {digest('second')} 3"), 0)
        agent = self.connected("gw1/a1")
        self.assertEqual(agent.end(10), ADMINISTRATIVE_ACTION)
        self.assertFalse(self.admits("gw1/a1"))
        self.assertTrue(self.admits("gw1/a1", "second"))

    def test_a_new_table_replaces_the_old_one_at_once(self):
        gone, kept, changed = self.connected("gw2/a1"), self.connected("gw1/a1"), self.connected("gw1/a2")
        self.assertEqual(self.control("begin", f"set gw1/a1 {digest(secret_of('gw1/a1'))}"), 0)
        self.assertTrue(self.admits("gw2"), "nothing changes before the commit")
        self.assertEqual(self.control(f"set gw1/a2 {digest('other')}"), 0)
        self.assertTrue(self.admits("gw2"))
        self.assertEqual(self.control("commit"), 0)
        self.assertFalse(self.admits("gw2"))
        self.assertTrue(self.admits("gw1/a2", "other"))
        self.assertEqual(gone.end(), ADMINISTRATIVE_ACTION)
        self.assertEqual(changed.end(), ADMINISTRATIVE_ACTION)
        self.assertIsNone(kept.end(0.5))
        self.assertTrue(self.admits("op:alice"), "operators are no part of it")

    def test_identities_survive_the_death_of_the_broker(self):
        self.assertEqual(self.control(f"overlap gw1/a1 {digest('second')} 600", "remove gw2/a1"), 0)
        self.assertEqual(stat.S_IMODE(os.stat(self.broker.state).st_mode), 0o600)
        self.broker.kill()
        with self.broker.state.open("a") as state:
            state.write("remove gw1/a2")
        self.broker.start()
        self.assertTrue(self.admits("gw1/a2"), "a torn last line is ignored")
        self.assertFalse(self.admits("gw2/a1"))
        self.assertTrue(self.admits("gw1/a1"))
        self.assertTrue(self.admits("gw1/a1", "second"))
        self.broker.kill()
        self.broker.start()
        self.assertFalse(self.admits("gw1/a1"))
        self.assertTrue(self.admits("gw1/a1", "second"))

    def test_a_state_file_that_makes_no_sense_is_not_trusted(self):
        self.broker.kill()
        self.broker.state.write_text(f"set gw1 {digest(secret_of('gw1'))}\nset gw2 nonsense\n")
        self.broker.start()
        self.assertFalse(self.admits("gw1"))
        self.assertTrue(self.admits("op:alice"))
        self.assertIn("access.state_broken", self.broker.log.read_text())

    def test_a_reload_reads_operators_and_services_again(self):
        alice, bob, agent = self.connected("op:alice"), self.connected("op:bob"), self.connected("gw1/a1")
        names = ["op:alice", STORE]
        self.broker.write_identities({name: secret_of(name) for name in names} | {"op:carol": "fresh"})
        self.broker.reload()
        self.assertIsNotNone(bob.end(10))
        self.assertTrue(self.admits("op:carol", "fresh"))
        self.assertFalse(self.admits("op:bob"))
        for client in (alice, agent, self.store):
            self.assertIsNone(client.end(0.3))
        self.broker.identities.write_text("op:alice\n")
        self.broker.reload()
        wait_until(lambda: "line 1" in self.broker.log.read_text(), 10, "a word on the broken file")
        self.assertTrue(self.admits("op:carol", "fresh"), "a broken file changes nothing")
        self.assertTrue(self.admits("gw1/a1"), "whose id is the broker's to choose")

    def test_a_reload_leaves_an_absent_session_its_messages(self):
        agent = self.connected("gw1/a1", client_id="gw1/a1", expiry=60)
        agent.subscribe(f"{ROOT}/agents/gw1/a1/status")
        agent.close()
        self.broker.reload()
        time.sleep(0.5)
        self.assertEqual(self.store.publish(f"{ROOT}/agents/gw1/a1/status", "record"), 0)
        again = self.connected("gw1/a1", client_id="gw1/a1", expiry=60)
        self.assertEqual(again.receive().payload, b"record")

    def test_a_reload_makes_nobody_present(self):
        self.connected("op:alice", client_id="console", clean_start=True, expiry=60).close()
        time.sleep(0.5)
        self.broker.reload()
        time.sleep(0.5)
        self.assertTrue(self.admits("op:bob", client_id="console"), "the broker asked about absent clients too")

    def test_a_restart_and_a_reload_leave_an_absent_session_its_messages(self):
        agent = self.connected("gw1/a1", client_id="gw1/a1", expiry=60)
        agent.subscribe(f"{ROOT}/agents/gw1/a1/status")
        agent.close()
        self.assertEqual(self.store.publish(f"{ROOT}/agents/gw1/a1/status", "record"), 0)
        self.assertEqual(self.broker.stop(), 0)
        self.broker.start()
        self.broker.reload()
        time.sleep(0.5)
        again = self.connected("gw1/a1", client_id="gw1/a1", expiry=60)
        self.assertEqual(again.receive().payload, b"record")

    def test_no_secret_is_ever_logged(self):
        self.admits("gw1/a1", "a wrong and secret word")
        self.admits("a-secret-as-username!", "x")
        self.control(f"set gw1 {digest('x')} surplus")
        log = self.broker.log.read_text()
        for secret in ["a wrong and secret word", "a-secret-as-username", digest("x"), secret_of("gw1/a1")]:
            self.assertNotIn(secret, log)
        self.assertIn("reason=wrong_secret", log)


class HowTheBrokerStarts(unittest.TestCase):
    def refusal(self, *options, identities=None):
        broker = Broker(options)
        self.addCleanup(broker.close)
        if identities is not None:
            broker.identities.write_text(identities)
        with self.assertRaises(RuntimeError) as caught:
            broker.start()
        return str(caught.exception)

    def test_a_broken_identities_file_is_named_with_its_line(self):
        log = self.refusal(identities=f"# first\nop:alice {digest('x')}\ngw1 {digest('x')}\n")
        self.assertIn("identities, line 3: not op:NAME or svc:SERVICE/INSTANCE", log)

    def test_an_unknown_option_refuses_the_start(self):
        self.assertIn("plugin_opt_identitys", self.refusal("plugin_opt_identitys /dev/null"))

    def test_another_topic_root_and_a_clean_stop(self):
        broker = Broker(["plugin_opt_topic_root site/rollcall"])
        self.addCleanup(broker.close)
        broker.start()
        alice = Client(broker, "op:alice")
        self.assertEqual(alice.connect(), 0)
        self.assertIn(alice.publish("site/rollcall/commands/get"), (0, 16))
        self.assertEqual(alice.publish(f"{ROOT}/commands/get"), NOT_AUTHORIZED)
        alice.close()
        self.assertEqual(broker.stop(), 0)


if __name__ == "__main__":
    unittest.main()
