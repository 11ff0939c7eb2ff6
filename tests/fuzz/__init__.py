# SPDX-License-Identifier: MIT
"""Mutants of model files of every format: ``python -m tests.fuzz --count N --seed S --format F``."""
