# SPDX-License-Identifier: MIT
"""Weights of every layout, found for the layers of a model."""
