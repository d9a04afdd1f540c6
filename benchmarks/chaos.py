"""A longer fault run: storms of any length from several seeds, with the test's own harness and judgement.

In CI the storm lasts 20 s (`tests/chaos`). Here each seed gets a storm of its own, then the control run, and the
figures of all are printed. Exit code 1 as soon as a run loses or doubles anything.

    python -m benchmarks.chaos [--runs 5] [--storm-s 120] [--seed 1]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HARNESS = Path(__file__).resolve().parents[1] / "tests" / "chaos"
STORM_S_MAX = 300  # the broker's guard restarts it a hundred times at most


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="how many seeds (default 5)")
    parser.add_argument("--storm-s", type=int, default=120, help=f"seconds of faults, at most {STORM_S_MAX}")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; the others follow it")
    given = parser.parse_args()
    if not 1 <= given.storm_s <= STORM_S_MAX:
        parser.error(f"--storm-s: from 1 to {STORM_S_MAX}")
    for seed in range(given.seed, given.seed + given.runs):
        environ = {**os.environ, "SHOUDIAN_CHAOS_SEED": str(seed), "SHOUDIAN_CHAOS_S": str(given.storm_s)}
        command = (sys.executable, "-m", "pytest", "-q", "-s", "--durations=0", "--no-header", str(HARNESS))
        code = subprocess.run(command, env=environ, check=False).returncode
        if code:
            print(f"seed {seed}: exit code {code}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
