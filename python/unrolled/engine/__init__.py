# SPDX-License-Identifier: MIT
"""From layers to plans: lowering, recording, weights and the caches of plans."""
