"""What a million identities cost: `ROLLCALL_BUILD=.build/release python Tests/Access/measure.py [COUNT]`."""

import statistics
import sys
import time

from broker import CONTROL, STORE, Broker, Client, digest

BATCH_LINES = 8_000


def resident_mib(process):
    with open(f"/proc/{process.pid}/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return {key: int(lines[key].split()[0]) // 1024 for key in ("VmRSS", "VmHWM")}


def connect_ms(broker, count):
    times = []
    for number in range(0, count, max(1, count // 200)):
        client = Client(broker, f"gateway-{number % 1000:03}/agent-{number:07}", f"secret {number}")
        began = time.perf_counter()
        assert client.connect() == 0
        times.append((time.perf_counter() - began) * 1000)
        client.close()
    return statistics.median(times)


def send_table(store, lines):
    began = time.perf_counter()
    assert store.publish(CONTROL, "begin") == 0
    slowest = 0
    for start in range(0, len(lines), BATCH_LINES):
        batch = "\n".join(lines[start:start + BATCH_LINES])
        sent = time.perf_counter()
        assert store.publish(CONTROL, batch) == 0
        slowest = max(slowest, time.perf_counter() - sent)
    committed = time.perf_counter()
    assert store.publish(CONTROL, "commit") == 0
    ended = time.perf_counter()
    print(f"table sent in {ended - began:.2f} s; slowest batch of {BATCH_LINES} {slowest * 1000:.0f} ms; "
          f"commit {(ended - committed) * 1000:.0f} ms")


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    lines = [f"set gateway-{n % 1000:03}/agent-{n:07} {digest(f'secret {n}')}" for n in range(count)]
    broker = Broker().start()
    try:
        print("empty:", resident_mib(broker.process))
        store = Client(broker, STORE)
        assert store.connect() == 0
        send_table(store, lines)
        print(f"{count} identities:", resident_mib(broker.process))
        send_table(store, lines)
        print("the same table again:", resident_mib(broker.process))
        print(f"state file {broker.state.stat().st_size / 2**20:.0f} MiB")
        print(f"connect to welcome, median {connect_ms(broker, count):.2f} ms")
        store.close()
        broker.kill()
        began = time.perf_counter()
        broker.start()
        print(f"start with the state file {time.perf_counter() - began:.2f} s:", resident_mib(broker.process))
        print(f"connect to welcome, median {connect_ms(broker, count):.2f} ms")
    finally:
        broker.close()


if __name__ == "__main__":
    main()
