"""`ibray sweep --notify`: the command learns how the sweep ended, and never decides how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from ibray.notify import Notifier
from ibray.snapshots import Snapshots
from ibray.sweep import run_sweep
from ibray.workspace import enter_output

pytestmark = pytest.mark.ray

FACTS = "$IBRAY_EVENT|$IBRAY_SWEEP|$IBRAY_OUT|$IBRAY_DONE|$IBRAY_FAILED|$IBRAY_MESSAGE"


@pytest.fixture
def heard(tmp_path):
    """The command that notes what it is told, and a way to read it: lists of facts."""
    file = tmp_path / "heard"
    command = f'echo "{FACTS}" >> {file}'
    return SimpleNamespace(
        command=command, read=lambda: [line.split("|") for line in file.read_text().splitlines()], file=file
    )


@pytest.fixture
def sweep(tmp_path, data_dir, heard):
    """Run the training of a spec inline, and tell."""
    given = {"inline": True, "data_dir": data_dir, "stages": ["train"], "notify": heard.command}
    return lambda spec, **options: run_sweep(spec, tmp_path / "out", **{**given, **options})


def test_done_and_again_with_nothing_to_do(sweep, tiny, heard, tmp_path):
    sweep(tiny())
    sweep(tiny())
    out = str(tmp_path / "out")
    assert heard.read() == [
        ["done", "tiny", out, "2", "0", "2 of 2 tasks done"],
        ["done", "tiny", out, "0", "0", "nothing to do: all 2 tasks of 2 cells are done"],
    ]


def test_failed_names_the_first_reason(sweep, tiny, heard, tmp_path):
    spec = tiny(retries=0)
    enter_output(tmp_path / "out", spec)
    (tmp_path / "out" / "snapshots").mkdir()
    (tmp_path / "out" / "snapshots" / spec.cells()[1].run_id).write_text("in the way")
    sweep(spec)
    ((event, _, _, done, failed, message),) = heard.read()
    assert (event, done, failed) == ("failed", "1", "1")
    assert message.startswith("1 of 2 tasks failed; the first: ") and "Error" in message


def test_a_sweep_that_raises_has_failed(sweep, tiny, heard, tmp_path):
    spec = tiny(retries=0, attack="none")
    enter_output(tmp_path / "out", spec)
    (tmp_path / "out" / "snapshots").write_text("in the way")
    with pytest.raises(OSError):
        sweep(spec, fail_fast=True)
    ((event, *_, message),) = heard.read()
    assert event == "failed" and "Error" in message


def test_ctrl_c_is_an_interruption(sweep, tiny, heard, monkeypatch):
    def interrupt(self, epoch, model):
        raise KeyboardInterrupt

    monkeypatch.setattr(Snapshots, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sweep(tiny())
    ((event, *_, message),) = heard.read()
    assert event == "interrupted" and message.startswith("Ctrl-C")


def test_a_sweep_asked_to_end_tells_before_it_does(sweep_file, tmp_path, data_dir, heard):
    words = ["--out", tmp_path / "out", "--inline", "--stage", "train", "--set", "training.epochs=5000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ibray", "sweep", sweep_file, *words, "--notify", heard.command],
        env={**os.environ, "IBRAY_DATA": str(data_dir)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/snapshots/*/epoch_0001.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    ((event, *_, message),) = heard.read()
    assert event == "interrupted" and "a signal asked it to end" in message


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo first >&2; echo no network >&2; exit 3", "ended with exit code 3: no network"),
        ("no-such-program-anywhere", "ended with exit code 127"),
        ("a\0b", "cannot be started"),
    ],
)
def test_a_command_that_fails_is_reported_and_the_sweep_is_done(sweep, tiny, tmp_path, capsys, command, reason):
    sweep(tiny(attack="none"), notify=command)
    assert f"--notify (done): {reason}" in " ".join(capsys.readouterr().err.split())
    assert reason in (tmp_path / "out" / "logs" / "sweep.log").read_text()


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path):
    said = []
    started = time.monotonic()
    Notifier("sleep 47.11 & sleep 47.11", "tiny", tmp_path, said.append, 30, time_limit=0.3).tell("done", "")
    assert time.monotonic() - started < 5
    assert said == ["--notify (done): took longer than 0.3 s and was killed; the sweep does not depend on it"]
    assert "sleep 47.11" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_stuck_is_told_once_for_every_silence(tmp_path, heard):
    progress = SimpleNamespace(last_news=time.monotonic(), done_tasks=3, failures={"a task": "why"})
    minutes = 0.3 / 60
    with Notifier(heard.command, "tiny", tmp_path, print, minutes).watching(progress):
        time.sleep(1.2)
        first = heard.read()
        progress.last_news = time.monotonic()
        time.sleep(0.9)
    facts = ["stuck", "tiny", str(tmp_path), "3", "1", "no unit finished and no epoch was written for 0.005 minutes"]
    assert (first, heard.read()) == ([facts], [facts, facts])


def test_a_sweep_with_news_is_not_stuck(tmp_path, heard):
    progress = SimpleNamespace(last_news=time.monotonic(), done_tasks=0, failures={})
    with Notifier(heard.command, "tiny", tmp_path, print, 0.5 / 60).watching(progress):
        for _ in range(10):
            progress.last_news = time.monotonic()
            time.sleep(0.1)
    assert not heard.file.exists()


def test_the_help_says_what_cannot_be_told(ibray):
    assert "killed by SIGKILL" in " ".join(ibray("sweep", "--help").out.split())
