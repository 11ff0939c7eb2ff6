# SPDX-License-Identifier: MIT
"""Convolution and pooling."""
