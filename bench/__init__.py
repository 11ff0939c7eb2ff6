# SPDX-License-Identifier: MIT
"""Benchmarks of unrolled beside its peers; see README.md. Run from the root of the repository."""
