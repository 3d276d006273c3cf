"""`ibray sweep --notify CMD`: a shell command is told how a sweep ended, and when it seems stuck."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ibray.progress import Progress

Event = Literal["done", "failed", "interrupted", "stuck"]

TIME_LIMIT = 60.0  # seconds for the command
LONGEST_LOOK = 10.0  # seconds between two looks whether anything has happened
# Signals by which a process is asked to end: a machine that is taken away, a terminal that is closed.
ENDING = (signal.SIGTERM, signal.SIGHUP)


class Notifier:
    """Runs the command with facts about one sweep in its environment; what goes wrong with it is only reported.

    Args:
        command: for the shell; None to tell nobody.
        name: of the sweep.
        out: its output directory.
        say: where a command that fails is reported.
        stuck_minutes: the sweep is stuck when nothing has happened for so long.
        time_limit: seconds after which the command is killed.
    """

    def __init__(
        self,
        command: str | None,
        name: str,
        out: Path,
        say: Callable[[str], None],
        stuck_minutes: float,
        time_limit: float = TIME_LIMIT,
    ):
        self.command, self.name, self.out, self.say = command, name, out, say
        self.stuck_seconds, self.time_limit = 60 * stuck_minutes, time_limit

    def tell(self, event: Event, message: str, done: int = 0, failed: int = 0) -> None:
        """Run the command, if there is one, and wait for it."""
        if self.command is None:
            return
        facts = {
            "IBRAY_EVENT": event,
            "IBRAY_SWEEP": self.name,
            "IBRAY_OUT": str(self.out.resolve()),
            "IBRAY_DONE": str(done),
            "IBRAY_FAILED": str(failed),
            "IBRAY_MESSAGE": message,
        }
        problem = self._run(facts)
        if problem:
            logging.getLogger(__name__).warning("--notify (%s): %s", event, problem)
            self.say(f"--notify ({event}): {problem}; the sweep does not depend on it")

    def _run(self, facts: dict[str, str]) -> str | None:
        """What went wrong, None if nothing did."""
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            try:
                process = subprocess.Popen(
                    self.command,
                    shell=True,
                    env={**os.environ, **facts},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,  # what it starts is killed with it, and Ctrl-C is ours alone
                )
            except (OSError, ValueError) as error:
                return f"cannot be started: {error}"
            try:
                code = process.wait(self.time_limit)
            except subprocess.TimeoutExpired:
                return f"took longer than {self.time_limit:g} s and was killed"
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            return None if code == 0 else f"ended with exit code {code}{_last_line(said)}"

    @contextmanager
    def watching(self, progress: Progress) -> Iterator[None]:
        """While a sweep runs: tell when it is stuck, and when it is interrupted or raises."""
        if self.command is None:
            yield
            return
        with _signals_raised(), self._watching_for_silence(progress):
            try:
                yield
            except Exception as error:
                reason = str(error).strip().partition("\n")[0]
                self.tell("failed", f"{type(error).__name__}: {reason}", progress.done_tasks, len(progress.failures))
                raise
            except BaseException as ending:  # Ctrl-C, or a signal that asks to end
                why = "Ctrl-C" if isinstance(ending, KeyboardInterrupt) else "a signal asked it to end"
                message = f"{why}; the same command goes on from here"
                self.tell("interrupted", message, progress.done_tasks, len(progress.failures))
                raise

    @contextmanager
    def _watching_for_silence(self, progress: Progress) -> Iterator[None]:
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(progress, ended), name="ibray-notify", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()

    def _watch(self, progress: Progress, ended: threading.Event) -> None:
        """Tell once for every silence."""
        told_of = None
        while not ended.wait(min(LONGEST_LOOK, self.stuck_seconds / 4)):
            last = progress.last_news
            if last != told_of and time.monotonic() - last >= self.stuck_seconds:
                told_of = last
                message = f"no unit finished and no epoch was written for {self.stuck_seconds / 60:g} minutes"
                self.tell("stuck", message, progress.done_tasks, len(progress.failures))


def _last_line(said: IO[str]) -> str:
    said.seek(0)
    lines = said.read().strip().splitlines()
    return f": {lines[-1]}" if lines else ""


@contextmanager
def _signals_raised() -> Iterator[None]:
    """A signal that would end the process on the spot ends it by an exception, so that there is time to tell."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {each: signal.signal(each, leave) for each in ENDING if signal.getsignal(each) is signal.SIG_DFL}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
