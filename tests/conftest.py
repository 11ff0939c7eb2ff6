# SPDX-License-Identifier: MIT
"""What every test relies on."""

import signal

# A shell that starts the tests in the background has them, and every process that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
