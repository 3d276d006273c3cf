"""SVG, PNG and PDF files of Vega-Lite specifications, made by processes of their own.

vl-convert keeps Python to itself while it works, so threads do not help. `python -m analysis.convert` is one such
process: it reads requests from its input, a line of JSON each, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

KINDS = ("svg", "png", "pdf")
PNG_SCALE = 2
MOST_PROCESSES = 4  # 0.4 GiB each


class Converter:
    """Files of figures, written while the caller works on the next ones; a context, at whose end all are there."""

    def __init__(self, processes: int | None = None):
        """processes: how many; by default one less than there are cores, for the caller has one."""
        count = processes or max(1, min(MOST_PROCESSES, (os.cpu_count() or 1) - 1))
        self._threads = ThreadPoolExecutor(count)
        self._processes: list[subprocess.Popen] = []
        self._idle: SimpleQueue[subprocess.Popen] = SimpleQueue()
        self._pending: list[Future[None]] = []

    def add(self, spec: dict, vega_lite: str, stem: Path) -> list[Path]:
        """Write STEM.svg, .png and .pdf before the context ends; the paths they will have."""
        paths = [stem.with_name(f"{stem.name}.{kind}") for kind in KINDS]
        request = json.dumps({"spec": spec, "vega_lite": vega_lite, "paths": [str(path) for path in paths]})
        self._pending.append(self._threads.submit(self._convert, request))
        return paths

    def _convert(self, request: str) -> None:
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = self._start()
        process.stdin.write(request + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that draws figures ended with status {process.wait()}")
        self._idle.put(process)
        if error := json.loads(answer)["error"]:
            raise RuntimeError(f"a figure could not be drawn: {error}")

    def _start(self) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._processes.append(process)
        return process

    def __enter__(self) -> Converter:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Wait for all files and raise what went wrong; after an exception, give up what has not begun."""
        self._threads.shutdown(cancel_futures=kind is not None)
        for process in self._processes:
            process.stdin.close()
            process.stdout.close()
            process.wait()
        if kind is None:
            for future in self._pending:
                future.result()


def main() -> None:
    """Answer requests until the input ends."""
    import vl_convert  # here, because the caller needs no 30 MB library to ask

    sys.stdin.reconfigure(encoding="utf-8")
    for line in sys.stdin:
        request, error = json.loads(line), None
        try:
            svg_path, png_path, pdf_path = map(Path, request["paths"])
            svg = vl_convert.vegalite_to_svg(request["spec"], vl_version=request["vega_lite"])
            svg_path.write_text(svg, encoding="utf-8")
            png_path.write_bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))
            pdf_path.write_bytes(vl_convert.svg_to_pdf(svg))
        except Exception as caught:  # whatever it is, the caller is to raise it
            error = f"{svg_path.stem}: {caught}"
        print(json.dumps({"error": error}), flush=True)


if __name__ == "__main__":
    main()
