# SPDX-License-Identifier: MIT
"""Operations of graphs: what Keras calls keras.ops and TensorFlow's functions in tf.keras."""
