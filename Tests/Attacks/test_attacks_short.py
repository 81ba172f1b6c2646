"""The short form of the attacks; the long one is infra/scripts/attacks."""

import unittest

import attacks

# Of each kind of access, what once stopped the system for everybody.
KINDS = (
    "agent-heartbeats", "agent-files", "agent-sessions", "gateway-empty", "gateway-unknown", "gateway-bad",
    "gateway-retained", "gateway-status", "operator-commands",
)


class ShortAttacks(unittest.TestCase):
    def test_no_client_stops_the_system_for_the_others(self):
        for result in attacks.run(KINDS, 3):
            with self.subTest(kind=result["kind"]):
                print(result, flush=True)
                # A busy machine makes the little that it was before no measure by itself.
                self.assertLessEqual(
                    result["wake_to_online_p99_during"], max(3 * result["wake_to_online_p99_before"], 0.5), result)
                self.assertLessEqual(result["commands_p99_during"], 1, result)
                self.assertLessEqual(result["log_lines_a_second"], 100, result)
                self.assertLessEqual(result["recovery_seconds"], 4, result)
                self.assertEqual(result["suspensions"], 0, result)
                self.assertLess(result["memory_mib_most"]["broker"], result["memory_mib_idle"]["broker"] + 100, result)


if __name__ == "__main__":
    unittest.main()
