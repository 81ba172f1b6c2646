"""The short form of the trial: a minute of faults on real processes. The long one is infra/scripts/faults."""

import unittest

import trial


class ShortTrial(unittest.TestCase):
    """What breaks here has left its evidence in the directory that the message names."""

    def check(self, **options):
        summary, violations = trial.run(trial.Options(agents=60, seconds=20, lanes=8, **options))
        text = "\n".join(f"{each.kind}: {each.agent}: {each.detail}" for each in violations[:20])
        self.assertEqual(violations, [], f"{summary}\n{text}")
        return summary

    def test_killed_services_and_broker_break_no_promise(self):
        summary = self.check(kills=12, seed=20)
        self.assertGreaterEqual(sum(summary["kills"].values()), 12)
        self.assertGreater(summary["commands"], 50)
        self.assertEqual(summary["unknown"], 0)

    def test_stopped_services_break_no_promise(self):
        summary = self.check(kills=0, stops=8, seed=21, services=("ingest", "reconciler", "store", "provisioner"))
        self.assertGreater(sum(summary["stops"].values()), 0)


if __name__ == "__main__":
    unittest.main()
