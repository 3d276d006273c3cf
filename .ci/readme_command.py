"""Print the README's set-up command that contains a word, so that what CI runs is what the README says."""

import re
import sys
from pathlib import Path


def command(word: str) -> str:
    """The one-line bash block of the README with this word in it."""
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    lines = [block.strip() for block in re.findall(r"```bash\n(.*?)```", readme, re.S)]
    (found,) = [line for line in lines if word in line and line.startswith("pip install") and "\n" not in line]
    return found


if __name__ == "__main__":
    print(command(sys.argv[1]))
