# SPDX-License-Identifier: MIT
"""``python -m bench``: the comparison with the peers."""

from bench.run import main

if __name__ == "__main__":
    raise SystemExit(main())
