"""How long something takes in a process that thousands of tests have filled."""

import time
from collections.abc import Callable


def cpu_seconds(action: Callable[[], object], runs: int = 3) -> float:
    """CPU seconds of this thread for one run of `action`, the least of `runs`.

    The garbage collector comes at times of its own and looks through all of torch and of what other tests left;
    other threads of the process count for nothing.
    """
    took = []
    for _ in range(runs):
        begin = time.thread_time()
        action()
        took.append(time.thread_time() - begin)
    return min(took)
