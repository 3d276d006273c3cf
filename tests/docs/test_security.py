"""What SECURITY.md promises of the code: no pickle is read, YAML makes no objects, nothing is evaluated."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import yaml

from ibray import yaml_file

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("ibray", "analysis") for path in (ROOT / folder).rglob("*.py"))
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
BUILTINS, METHODS = {"eval", "exec"}, {"read_pickle", "unsafe_load", "full_load"}
SAFE_ONLY_WITH = {"torch.load": ("weights_only", "True"), "np.load": ("allow_pickle", "False")}


def problems(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{path.relative_to(ROOT)}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if PICKLES & {module.partition(".")[0] for module in modules}:
                yield f"{where}: imports a pickle"
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in BUILTINS or name.rpartition(".")[2] in METHODS:
                yield f"{where}: {name}"
            option, safe = SAFE_ONLY_WITH.get(name, (None, None))
            if option and {word.arg: ast.unparse(word.value) for word in node.keywords}.get(option) != safe:
                yield f"{where}: {name} without {option}={safe}"


def test_nothing_that_is_read_can_run():
    assert [problem for path in SOURCES for problem in problems(path)] == []


def test_the_search_finds_what_it_looks_for(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    lines = ["import pickle", "eval('1')", "df.read_pickle(f)", "torch.load(f)", "np.load(f, allow_pickle=True)"]
    (tmp_path / "bad.py").write_text("\n".join(lines))
    assert len(list(problems(tmp_path / "bad.py"))) == 5


def test_yaml_is_read_by_safe_loaders():
    assert issubclass(yaml_file._Loader, yaml.SafeLoader)
    others = [path for path in SOURCES if "yaml.load(" in path.read_text() and path.name != "yaml_file.py"]
    assert not others
