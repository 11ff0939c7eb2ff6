# SPDX-License-Identifier: MIT
"""Random functional graphs, compared with the live Keras that writes them.

A graph is a short Keras program: its lines build the model, so a failure is its own reproducing script.
``python -m tests.oracle.graphs --count 2000 --seed 1`` runs as many as wanted; ``test_graphs.py`` runs a
fixed few hundred.
"""
