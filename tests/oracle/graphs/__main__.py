# SPDX-License-Identifier: MIT
"""``python -m tests.oracle.graphs --count 2000 --seed 1``: random graphs, compared with live Keras.

Prints a reproducing script for every difference, and exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.oracle.graphs.differential import live, run_many, run_one, shrink


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.graphs", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="graphs that Keras itself can run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keras", choices=("keras", "tf_keras"), help="one of the two only")
    parser.add_argument("--only", type=int, metavar="SEED", help="the graph of a seed printed before")
    parser.add_argument("--no-shrink", action="store_true", help="print programs as they were drawn")
    options = parser.parse_args(arguments)
    names = [options.keras] if options.keras else ["keras", "tf_keras"]
    if options.only is not None:
        return run_only(names, options.only)
    start = time.monotonic()
    tally = run_many(names, options.count, options.seed, report=report, shrinking=not options.no_shrink)
    report(f"{tally.count} graphs in {time.monotonic() - start:.0f} s: {dict(tally.statuses)}")
    report(f"not valid in Keras itself: {sum(tally.invalid.values())}")
    for message, count in tally.refusals.most_common():
        report(f"refused {count} times: {message}")
    return 1 if tally.failures else 0


def run_only(names, seed):
    for name in names:
        keras = live(name)
        result, program = run_one(keras, seed)
        report(f"{name}: {result.status} {result.message}")
        if result.is_failure:
            report(shrink(keras, program, result).script())
    return 0


def report(text):
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
