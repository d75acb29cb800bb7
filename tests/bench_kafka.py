"""`make bench-kafka ARGS="idle"`: what Apache Kafka and the embedded broker cost, in one run of each part."""

import argparse
import json
from functools import partial

from bench_idle import idle

PARTS = {"idle": idle}


def main():
    """Measure the parts that are named, or all of them, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all where none is named")
    parser.add_argument("--idle-s", type=float, default=60.0, help="how long an idle stage is watched")
    parser.add_argument("--lone", type=int, default=40, help="how many ECGs are sent one by one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    show = (lambda *_: None) if options.json else partial(print, flush=True)
    results = {name: PARTS[name](options, show) for name in options.parts or PARTS}
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
