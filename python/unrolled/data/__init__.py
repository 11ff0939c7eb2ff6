# SPDX-License-Identifier: MIT
"""Tables of numbers from outside: rows of CSV."""
