"""Short forms of the trial: every kind of fault on real processes. The long one is infra/scripts/faults."""

import unittest

import trial
from faults import KINDS


class ShortTrial(unittest.TestCase):
    """What breaks here has left its evidence in the directory that the message names."""

    def check(self, **options):
        summary, violations = trial.run(
            trial.Options(agents=80, lanes=8, pause=0.3, gateway_agents=20, longest=4, **options))
        text = "\n".join(f"{each['kind']}: {each['agent']}: {each['detail']}" for each in violations[:20])
        self.assertEqual(violations, [], f"{summary}\n{text}")
        for kind, reason in summary["left_out"].items():
            print(f"left out: {kind}: {reason}", flush=True)
        for kind in options["kinds"]:
            if kind not in summary["left_out"]:
                self.assertGreaterEqual(summary["faults"].get(kind, 0), 1, kind)
        self.assertGreater(summary["commands"], 100)
        self.assertGreater(summary["offline"], 20)
        self.assertEqual(summary["unknown"], 0)
        return summary

    def test_every_kind_of_fault_breaks_no_promise(self):
        self.check(kinds=KINDS, seconds=20, seed=20)

    def test_faults_of_a_system_with_one_of_each_break_no_promise(self):
        self.check(kinds=("kill", "stop", "cut", "half-open"), seconds=10, seed=21, instances=1)


if __name__ == "__main__":
    unittest.main()
