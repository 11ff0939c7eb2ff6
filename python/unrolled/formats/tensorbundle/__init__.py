# SPDX-License-Identifier: MIT
"""What TensorFlow writes: checkpoints, and SavedModel folders, whose variables are a checkpoint."""
