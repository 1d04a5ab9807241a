"""Mutants of a folder of pyvae, by mutmut, and which of them no test notices: ``python -m tests.mutants quantizers``.

mutmut changes one operator, number or name at a time and runs the tests that reach the changed function, which
``mutants.toml`` chooses by folder. What was found is kept in ``.mutants/<folder>``: a run that was ended goes on where
it stood, and another one, after better tests, tries what survived again.
"""

import argparse
import ast
import difflib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())
ENOUGH = 0.95
_SURVIVED = (0, 5, 33)  # all tests passed, or there was none: exit codes of mutmut's workers

_SETTINGS = """
[tool.mutmut]
source_paths = ["pyvae"]
only_mutate = {files}
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-p", "no:xdist", "-p", "no:cacheprovider"]
timeout_multiplier = 10.0
timeout_constant = 10.0
use_git_change_detection = false
"""


def prepare(folder: str, only: list[str]) -> Path:
    """A directory with the package, the tests, and mutmut's settings; with what earlier runs have found."""
    directory = ROOT / ".mutants" / folder
    for name in ("pyvae", "tests"):
        shutil.copytree(ROOT / name, directory / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "README.md"):
        shutil.copy2(ROOT / name, directory / name)
    tests = [test for test in FOLDERS[folder]["tests"] if (ROOT / test).exists()]
    files = [f"pyvae/{folder}/{name}.py" for name in only or ["*"]]
    settings = _SETTINGS.format(files=json.dumps(files), tests=json.dumps(tests))
    (directory / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + settings)
    return directory


def results(directory: Path, folder: str) -> Iterator[tuple[Path, str, int | None]]:
    """The file of each mutant, its name, and how its tests ended; None where they have not run."""
    for meta in sorted((directory / "mutants" / "pyvae" / folder).glob("*.meta")):
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            yield meta.with_suffix(""), name, code


def change(file: Path, name: str) -> str:
    """The lines that a mutant has instead of the original's."""
    text = file.read_text()
    last = name.rpartition(".")[2]
    original = re.sub(r"__mutmut_\d+$", "__mutmut_orig", last)
    found = {n.name: ast.get_source_segment(text, n) for n in ast.walk(ast.parse(text)) if hasattr(n, "body")
             and getattr(n, "name", "") in (original, last)}  # fmt: skip
    before, after = (found[n].splitlines()[1:] for n in (original, last))
    lines = difflib.unified_diff(before, after, n=0, lineterm="")
    return "\n".join(f"    {line[0]} {line[1:].strip()}" for line in list(lines)[3:])


def main() -> int:
    """Make and try the mutants, and list what survives; 1 where less than 95 % die."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", choices=FOLDERS)
    parser.add_argument("files", nargs="*", help="names of its files, without .py; by default all")
    parser.add_argument("--max-children", type=int, default=2, help="processes at a time")
    options = parser.parse_args()
    directory = prepare(options.folder, options.files)
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(options.max_children)]
    again = [name for _, name, code in results(directory, options.folder) if code in _SURVIVED]
    for names in ([], again) if again else ([],):
        subprocess.run([*command, *names], cwd=directory, check=False)
    found = [r for r in results(directory, options.folder) if not options.files or r[0].stem in options.files]
    if not found:
        print("mutmut made no mutants; its own words are above")
        return 1
    equivalent = {e["line"]: e["why"] for e in FOLDERS[options.folder].get("equivalent", [])}
    alive = excused = 0
    for file, name, code in found:
        if code in _SURVIVED:
            lines = change(file, name)
            why = next((why for line, why in equivalent.items() if lines.endswith(line)), None)
            alive, excused = alive + (why is None), excused + (why is not None)
            print(f"{name}\n{lines}" + (f"\n    equivalent: {why}" if why else ""))
    tried = sum(code is not None for *_, code in found) - excused
    share = (tried - alive) / max(tried, 1)
    print(f"{share:.1%} of {tried} mutants died; {excused} more are equivalent, {len(found) - tried - excused} untried")
    return int(share < ENOUGH or tried + excused < len(found))


if __name__ == "__main__":
    sys.exit(main())
