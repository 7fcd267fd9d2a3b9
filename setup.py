"""What pyproject.toml cannot say: a package index shows README.md, without links that only a checkout has."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

NOTE = "*Names of files, such as `docs/start.md`, are those of the source distribution.*"
FENCED = re.compile(r"(^```.*?^```$)", flags=re.DOTALL | re.MULTILINE)
IMAGE = re.compile(r"^!\[[^\]]*\]\((?!\w+:)[^)]*\)\n\n?", flags=re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:)([^)#]*)(?:#[^)]*)?\)")


def described(readme: str) -> str:
    """A page whose relative links became names of files, and whose relative images are gone: on an index both lead nowhere."""

    def named(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        return f"`{target}`" if text in {target, f"`{target}`"} else f"{text} [`{target}`]" if target else text

    parts = FENCED.split(readme)  # every second part is a fenced block
    parts[::2] = [LINK.sub(named, IMAGE.sub("", part)) for part in parts[::2]]
    title, _, rest = "".join(parts).partition("\n")
    return f"{title}\n\n{NOTE}\n{rest}"


setup(
    long_description=described((Path(__file__).parent / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
