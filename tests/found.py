"""Numbers in documents: blocks of sentences that come from committed results.

A block begins with `<!-- found NAME: WORDS; WORDS -->` and ends with `<!-- end -->`; in
it stands each sentence of results/NAME that contains some WORDS. After new results

    python -m tests.found

writes all blocks anew; a test compares them.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from analysis.report.findings import load_findings
from analysis.report.sentences import sentences
from analysis.report.store import read_store

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
BLOCK = re.compile(r"<!-- found (\w+): (.*?) -->\n(.*?)<!-- end -->", re.DOTALL)


def block(name: str, words: str) -> str:
    """The sentences of a results folder that contain some of the words, as a list."""
    folder = ROOT / "results" / name
    lines = sentences(read_store(folder), load_findings(folder))
    chosen = []
    for some in words.split("; "):
        found = [line for line in lines if some in line]
        if not found:
            raise ValueError(f"no sentence of {name} contains {some!r}")
        chosen += found
    wrapped = (
        textwrap.fill(line, 88, initial_indent="- ", subsequent_indent="  ")
        for line in chosen
    )
    return "\n".join(wrapped) + "\n"


def fresh(text: str) -> str:
    """A page with all its blocks written anew."""
    return BLOCK.sub(
        lambda m: f"<!-- found {m[1]}: {m[2]} -->\n{block(m[1], m[2])}<!-- end -->",
        text,
    )


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(fresh(path.read_text()))
