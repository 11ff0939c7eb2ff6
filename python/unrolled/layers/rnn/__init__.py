# SPDX-License-Identifier: MIT
"""Recurrent layers, their cells and the wrappers around them."""
