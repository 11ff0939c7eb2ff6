# SPDX-License-Identifier: MIT
"""Text at the door of a model: strings to ids, in Python before the plan."""
