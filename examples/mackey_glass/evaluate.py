# SPDX-License-Identifier: MIT
"""Score and plot a forecast of ``test.csv`` that ``unrolled predict`` wrote.

    unrolled predict mackey_glass.keras test.csv -o forecast.csv
    python evaluate.py forecast.csv

Prints the error against what really came, beside the error of repeating the last value, and the difference
from Keras's own forecast with the same model (``keras_forecast.csv``); writes ``forecast.png``, or what
``--plot`` names (needs matplotlib).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent
HORIZON = 17  # the forecast at row t is for row t + HORIZON, as train.py trained it
WARM_UP = 50  # rows that the states need; train.py leaves them out of the loss too


def rmse(difference: NDArray[np.float64]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(difference**2)))


def plot(truth: NDArray[np.float64], forecast: NDArray[np.float64], path: Path) -> None:
    """Draw the series, the forecast that was made ``HORIZON`` units before, and their difference."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    time = np.arange(len(truth))
    figure, (above, below) = pyplot.subplots(
        2, 1, sharex=True, figsize=(9, 5), height_ratios=(3, 1), layout="constrained"
    )
    above.plot(time, truth, color="0.6", linewidth=3, label="Mackey-Glass series")
    above.plot(time, forecast, linewidth=1, label=f"forecast made {HORIZON} time units before")
    above.set_ylabel("x(t)")
    above.legend(loc="lower right")
    below.plot(time, forecast - truth, linewidth=1)
    below.set_ylabel("difference")
    below.set_xlabel("time")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main() -> None:
    """Read, compare, print, plot."""
    parser = argparse.ArgumentParser(description="Score and plot a forecast of test.csv.")
    parser.add_argument("forecast", type=Path, help="the .csv file that unrolled predict wrote")
    parser.add_argument("--plot", type=Path, default=Path("forecast.png"), help="the picture to write")
    options = parser.parse_args()

    series = np.loadtxt(FOLDER / "test.csv")
    forecast = np.loadtxt(options.forecast)
    keras = np.loadtxt(FOLDER / "keras_forecast.csv")
    truth = series[WARM_UP + HORIZON :]
    made = slice(WARM_UP, len(series) - HORIZON)

    print(f"forecasts              {len(truth)}, each {HORIZON} time units ahead")
    print(f"last one               {forecast[made][-1]:.4f}; it became {truth[-1]:.4f}")
    print(f"RMSE                   {rmse(forecast[made] - truth):.4f}")
    print(f"RMSE of persistence    {rmse(series[made] - truth):.4f}")
    print(f"worst from Keras       {np.abs(forecast - keras).max():.1e}")
    plot(truth, forecast[made], options.plot)
    print(f"plot                   {options.plot}")


if __name__ == "__main__":
    main()
