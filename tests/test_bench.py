# SPDX-License-Identifier: MIT
"""The folder ``bench`` runs and judges rightly. No time is asserted: a test machine is never quiet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unrolled

pytest.importorskip("bench", reason="the folder bench is not here")

ROOT = Path(__file__).resolve().parents[1]

bench = pytest.importorskip("bench", reason="the folder bench is not here")


def environment():
    package = Path(unrolled.__file__).parents[1]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])}


posix = pytest.mark.skipif(os.name == "nt", reason="the workers' pipes are waited for with select")


def run(module, *arguments):
    command = [sys.executable, "-m", module, "--quick", "--peer", "unrolled", "--threads", "1", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@posix
def test_the_comparison_checks_and_times_unrolled_alone(tmp_path):
    run("bench", "--workload", "seed_birnn", "--batch", "1", "--no-limit", "--output", str(tmp_path))
    results = json.loads((tmp_path / "results.json").read_text())
    (cell,) = results["cells"]
    assert (cell["workload"], cell["batch"]) == ("seed_birnn", 1)
    own = cell["peers"]["unrolled"]
    assert own["failure"] == ""
    assert own["error"] < 1e-5
    assert own["calls"] > 0


@posix
def test_a_stream_is_checked_and_timed(tmp_path):
    run("bench.streaming", "--table", "latency", "--output", str(tmp_path))
    own = json.loads((tmp_path / "streaming.json").read_text())["latency"]["unrolled"]
    assert own["error"] < 1e-5
    assert 0 < own["p50_seconds"] <= own["p99_seconds"] <= own["p99.9_seconds"]


@pytest.mark.parametrize("change", [lambda y: y + 1e-3, lambda y: y[:, :-1], lambda y: y * np.nan])
def test_a_wrong_output_is_noticed(change):
    from bench import reference, workloads

    workload = workloads.ALL["seed_birnn"]
    expected = reference.expected_output(workload, workloads.make_weights(workload), 1)
    assert reference.largest_error(expected, expected, 1) == 0
    assert reference.largest_error(change(expected), expected, 1) > reference.TOLERANCE


def test_unrolled_takes_the_weights_of_every_workload():
    from bench import workloads
    from tests.recipes import build_model

    for workload in workloads.ALL.values():
        model = build_model(unrolled, workload.recipe)
        if model.count_params() < 1_000_000:
            model.set_weights(workloads.make_weights(workload))


def test_every_peer_has_the_interface():
    from bench import peers

    for name in peers.NAMES:
        peer = peers.load(name)
        assert isinstance(peer.environment(1), dict)
        assert callable(peer.version)
        assert callable(peer.prepare)
        assert peer.TITLE
        assert peer.MODULES
    with pytest.raises(ValueError, match="the peers are unrolled, keras_predict"):
        peers.load("nobody")


def test_a_limit_grows_with_the_batch_and_shrinks_with_threads():
    from bench import limits, workloads

    def rates(threads):
        return limits.Rates(threads, threads * 1e11, 1e-7, ((1e4, threads * 2e11), (1e7, threads * 2e10)))

    one = limits.Machine(2e-10, {1: rates(1)}, {})
    two = limits.Machine(2e-10, {1: rates(1), 2: rates(2)}, {})
    for workload in workloads.MODELS:
        single = limits.limit_seconds(one, workload, 1)
        assert 0 < limits.limit_seconds(two, workload, 1) <= single
        assert limits.limit_seconds(one, workload, 32) > single


def test_a_workload_that_is_not_there_is_an_error_that_lists_the_others():
    from bench import workloads

    with pytest.raises(ValueError, match="seed_lstm4"):
        workloads.select(["sed_lstm4"])
    assert [workload.name for workload in workloads.select(["rnn*", "seed_d*"])] == ["seed_deeprnn", "rnn512"]
