# SPDX-License-Identifier: MIT
"""Configurations of every Keras version, in JSON, made into one description."""
