"""`ibray doctor`: what is wrong is a line that says so and what to do, and decides the exit code."""

from __future__ import annotations

import os
import re
import shutil
from datetime import datetime, timedelta
from types import SimpleNamespace

import psutil
import pytest
import ray
from packaging.requirements import Requirement

from ibray import check_machine, check_output, check_packages
from ibray.store import now

GIB = 2**30


def lines(text: str) -> dict[str, list[str]]:
    """Check -> its cells: result, found, what to do."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {name: rest for name, *rest in rows if rest}


@pytest.fixture
def doctor(ibray, tmp_path, monkeypatch):
    """Run it in an empty directory; returns exit code and lines."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        result = ibray("doctor", *words)
        assert result.err == ""
        return result.code, lines(result.out)

    return run


def test_a_sound_machine_passes_and_nothing_is_changed(doctor, sweep_file, contents, tmp_path):
    before = contents(tmp_path)
    code, checks = doctor(sweep_file, "--out", tmp_path / "new")
    assert code == 0
    names = ["Python", "packages", "CPU", "memory", "datasets", "sweep file", "output", "disk", "clock", "browser"]
    assert [name for name in names if checks[name][0] not in ("ok", "warning")] == []
    assert "2 cells" in checks["sweep file"][1] and "tiny still takes about" in checks["disk"][1]
    assert contents(tmp_path) == before


def test_without_a_file_it_looks_at_the_machine(doctor):
    code, checks = doctor()
    assert code == 0 and "sweep file" not in checks and checks["disk"][1].endswith("B free")


def test_too_little_disk_is_a_failure(doctor, sweep_file, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    code, checks = doctor(sweep_file)
    assert code == 1 and checks["disk"][0] == "failed" and "--out" in checks["disk"][2]


def test_what_is_there_already_needs_no_room(tiny, tmp_path, data_dir):
    def needed() -> float:
        found = check_output.check_disk(tmp_path, tiny(), data_dir).found
        return float(re.search(r"about ([\d.]+) kB", found)[1])

    before = needed()
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "weights").write_bytes(bytes(100_000))
    assert before - needed() == pytest.approx(100, abs=20)


def test_little_memory_is_a_warning(doctor, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB, available=1 * GIB))
    code, checks = doctor()
    assert (code, checks["memory"][:2]) == (0, ["warning", "1.0 of 8.0 GiB free"])


def test_a_trial_this_machine_cannot_hold_is_a_failure(doctor, sweep_file):
    code, checks = doctor(sweep_file, "--set", "resources.mi.cpu=4096")
    result, found, advice = checks["CPU"]
    assert (code, result) == (1, "failed")
    assert "resources.mi: a trial asks for 4096 CPU" in found and "lower resources.mi.cpu" in advice


def test_a_clock_before_the_newest_file_or_row_is_a_failure(doctor, half_done, sweep_file, tmp_path):
    assert doctor(sweep_file, "--out", half_done)[1]["clock"][0] == "ok"
    tomorrow = (datetime.now() + timedelta(days=1)).timestamp()
    os.utime(half_done / "sweep.yaml", (tomorrow, tomorrow))
    code, checks = doctor(sweep_file, "--out", half_done)
    assert code == 1 and checks["clock"][0] == "failed" and "sweep.yaml" in checks["clock"][1]
    present = now()
    check = check_machine.check_clock(tmp_path / "nowhere", present + timedelta(hours=1), present)
    assert check.result == "failed" and "a row of the database" in check.found


def test_the_clock_needs_no_time_zone(half_done, monkeypatch):
    import time

    try:
        for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):  # the first and the last of all
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert check_machine.check_clock(half_done, check_output.newest_row(half_done), now()).result == "ok"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("duckdb>=1.4", None),
        ("duckdb>=999", ", pyproject.toml asks for >=999"),
        ("no-such-package-anywhere>=1", "not installed"),
    ],
)
def test_packages_against_what_is_asked(line, found):
    check = check_packages.check_package(Requirement(line))
    assert check is None if found is None else check.found.endswith(found) and check.advice == f"pip install '{line}'"


def test_python_against_what_is_asked():
    assert check_packages.check_python("3.10.1", ">=3.11").result == "failed"
    assert check_packages.check_python("3.14.0rc1", ">=3.11").result == "ok"


def test_a_gpu_that_the_driver_sees_and_torch_does_not_is_a_failure(monkeypatch):
    monkeypatch.setattr(check_machine, "gpus", lambda: [SimpleNamespace(name="NVIDIA H100")])
    monkeypatch.setattr(check_machine.torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check = check_machine.check_gpus()
    assert check.result == "failed" and "NVIDIA H100" in check.found and "unset it" in check.advice


def test_anothers_directory_and_a_bad_attack_are_failures(doctor, sweep_file, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    code, checks = doctor(sweep_file, "--out", "photos", "--set", "attack={name: badnets, size: 99}")
    assert code == 1 and checks["output"][:1] == ["failed"] and checks["output"][2] == "choose a new one"
    assert checks["sweep file"][0] == "failed" and "a patch of 99 x 99" in checks["sweep file"][1]


def test_a_dataset_to_be_downloaded_is_a_warning(doctor, sweep_file):
    code, checks = doctor(sweep_file, "--set", "dataset=svhn")
    assert code == 0 and checks["dataset svhn"][:2] == ["warning", "not in the cache: the sweep downloads it first"]


def test_a_database_of_newer_code_is_said(doctor, half_done, monkeypatch):
    import duckdb

    with duckdb.connect(str(half_done / "results.duckdb")) as con:
        con.execute("UPDATE meta SET value = '99'")
    assert "update ibray" in doctor("--out", half_done)[1]["database"][1]


def test_no_cluster_at_the_address_is_a_failure_at_once(doctor, sweep_file, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests may have left one connected
    code, checks = doctor(sweep_file, "--address", "127.0.0.1:1")
    assert code == 1 and checks["cluster"][0] == "failed" and "no Ray cluster answers there" in checks["cluster"][1]


def test_an_address_without_a_file_is_refused(ibray):
    result = ibray("doctor", "--address", "auto")
    assert result.code == 2 and "sweep FILE: name one" in result.err
