# SPDX-License-Identifier: MIT
"""``python -m unrolled``: the command ``unrolled``."""

from __future__ import annotations

import sys

from unrolled.cli import main

sys.exit(main())
