# SPDX-License-Identifier: MIT
"""Train the Mackey-Glass model of this folder, and write its data and Keras's own forecast.

Needs Keras with a backend (``pip install ".[oracle]"``); running the model afterwards does not.
Writes ``train.csv``, ``test.csv`` (one value a time unit), ``mackey_glass.keras`` and ``keras_forecast.csv``.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent
SEED = 17
DELAY = 17  # tau; the series is chaotic from about 16.8 on
HORIZON = 17  # the forecast at row t is for row t + HORIZON
STEPS_PER_UNIT = 10
SEGMENT, STRIDE, WARM_UP = 250, 25, 50
EPOCHS, BATCH = 400, 32


def mackey_glass(length: int, history: float = 1.2) -> NDArray[np.float64]:
    """Sample dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t) once a time unit.

    Fourth-order Runge-Kutta; the delayed value half a step on is interpolated linearly.
    """
    step = 1 / STEPS_PER_UNIT
    lag = DELAY * STEPS_PER_UNIT
    x = np.full(lag + length * STEPS_PER_UNIT + 1, history)

    def slope(value: float, delayed: float) -> float:
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * value

    for i in range(lag, len(x) - 1):
        then, later = x[i - lag], x[i - lag + 1]
        half = (then + later) / 2
        k1 = slope(x[i], then)
        k2 = slope(x[i] + step / 2 * k1, half)
        k3 = slope(x[i] + step / 2 * k2, half)
        k4 = slope(x[i] + step * k3, later)
        x[i + 1] = x[i] + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x[lag::STEPS_PER_UNIT][:length]


def main() -> None:
    """Integrate, train, predict, write."""
    keras.utils.set_random_seed(SEED)
    # The first 300 units are the way onto the attractor. What is written is what is used.
    series = np.round(mackey_glass(300 + 5000 + 1000)[300:], 6)
    train, test = series[:5000], series[5000:]
    for name, values in (("train.csv", train), ("test.csv", test)):
        np.savetxt(FOLDER / name, values, fmt="%.6f")

    starts = range(0, len(train) - SEGMENT - HORIZON + 1, STRIDE)
    inputs = np.stack([train[i : i + SEGMENT] for i in starts])[..., None]
    targets = np.stack([train[i + HORIZON : i + HORIZON + SEGMENT] for i in starts])[..., None]
    weights = np.ones(targets.shape[:2])
    weights[:, :WARM_UP] = 0  # there the states have seen too little

    model = keras.Sequential(
        [keras.Input((None, 1)), keras.layers.GRU(32, return_sequences=True), keras.layers.Dense(1)],
        name="mackey_glass",
    )
    rate = keras.optimizers.schedules.CosineDecay(1e-2, EPOCHS * -(-len(inputs) // BATCH))
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss="mse")
    model.fit(inputs, targets, sample_weight=weights, batch_size=BATCH, epochs=EPOCHS, verbose=2)

    trained = keras.Sequential.from_config(model.get_config())  # without the optimiser's state
    trained.set_weights(model.get_weights())
    trained.save(FOLDER / "mackey_glass.keras")
    forecast = trained.predict(test[None, :, None].astype(np.float32), verbose=0)[0]
    np.savetxt(FOLDER / "keras_forecast.csv", forecast, fmt="%.9g")

    error = forecast[WARM_UP:-HORIZON, 0] - test[WARM_UP + HORIZON :]
    persistence = test[WARM_UP:-HORIZON] - test[WARM_UP + HORIZON :]
    print(f"keras {keras.__version__} on {keras.backend.backend()}")
    print(f"RMSE {np.sqrt(np.mean(error**2)):.4f}, persistence {np.sqrt(np.mean(persistence**2)):.4f}")


if __name__ == "__main__":
    main()
