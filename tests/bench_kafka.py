"""`make bench-kafka ARGS="idle"`: what Apache Kafka and the embedded broker cost, in one run of each part."""

import argparse
import json
from functools import partial

from .bench_brokers import brokers
from .bench_handover import handover
from .bench_idle import idle

PARTS = {"idle": idle, "handover": handover, "brokers": brokers}


def main():
    """Measure the parts that are named, or all of them, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = f"{', '.join(PARTS)}; all of them where none is named"
    parser.add_argument("parts", nargs="*", metavar="PART", help=known)
    parser.add_argument("--idle-s", type=float, default=60.0, help="how long an idle stage is watched")
    parser.add_argument("--lone", type=int, default=40, help="how many ECGs are sent one by one")
    parser.add_argument("--rate", type=float, default=8.0, help="ECGs a second while workers come and go")
    parser.add_argument("--heartbeat-s", type=float, help="CARDIACNETS_HEARTBEAT_INTERVAL_S of those workers")
    parser.add_argument("--records", type=int, default=800, help="a backlog of so many ECGs")
    parser.add_argument("--seconds", type=float, default=15.0, help="half as long as latencies are measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}: take {known}")
    show = (lambda *_: None) if options.json else partial(print, flush=True)
    results = {name: PARTS[name](options, show) for name in options.parts or PARTS}
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
