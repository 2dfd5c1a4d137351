"""Runs a function on many tasks in processes of their own, and tells which task a dying process took with it.

Each worker has a pipe of its own and works on one task at a time, so a crash is charged to the task that was at work, and
the others go on. Workers are started afresh (spawned), never forked: compiled kernels and solvers keep threads. A worker ends
when its pipe closes, hence also when this process is killed.

The standard library does it alone: of joblib, a pool of this kind, the rest would be an importer of pickled files, which no
module here may load.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

__all__ = ["Died", "run_tasks"]

Task = TypeVar("Task")
Answer = TypeVar("Answer")
_END_S = 2.0


class Died:
    """Stands for the answer of a task whose process died."""

    def __init__(self, exit_code: int | None) -> None:
        self.exit_code = exit_code

    def __str__(self) -> str:
        code = self.exit_code
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"the process was ended by {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}"


def _serve(pipe: Connection, function: Callable[[Task], Answer]) -> None:
    """Answers the tasks that come through the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends us
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            pipe.send(function(pipe.recv()))


class _Worker(Generic[Task, Answer]):
    """One process, idle or at work on `task`."""

    def __init__(self, function: Callable[[Task], Answer]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, function), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe breaks when the process dies
        self.task: Task | None = None

    def give(self, task: Task) -> None:
        self.task = task
        with contextlib.suppress(BrokenPipeError):  # it died idle: `take` then finds out
            self.pipe.send(task)

    def take(self) -> Answer | Died:
        """Returns the answer that waits in the pipe, or what became of the process."""
        try:
            answer: Answer = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return Died(self.process.exitcode)
        return answer

    def end(self) -> None:
        """Ends the process, at work or not."""
        self.pipe.close()
        if self.task is None:
            self.process.join(_END_S)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()


def run_tasks(
    function: Callable[[Task], Answer], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, Answer | Died]]:
    """Yields each task with its answer, as they come; with one worker in order and in this process.

    Args:
        function: A function at the top level of a module.
    """
    if workers == 1:
        yield from ((task, function(task)) for task in tasks)
        return
    waiting = list(reversed(tasks))
    pool: list[_Worker[Task, Answer]] = []
    try:
        while waiting or any(worker.task is not None for worker in pool):
            while waiting and len(pool) < workers:
                pool.append(_Worker(function))
                pool[-1].give(waiting.pop())
            for pipe in wait([worker.pipe for worker in pool]):
                worker = next(w for w in pool if w.pipe is pipe)
                task, answer = worker.task, worker.take()
                assert task is not None  # only a worker that has a task stays in the pool
                worker.task = None
                yield task, answer
                if waiting and not isinstance(answer, Died):
                    worker.give(waiting.pop())
                else:
                    pool.remove(worker)
                    worker.end()
    finally:
        for worker in pool:
            worker.end()
