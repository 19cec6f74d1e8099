#!/usr/bin/env python3
"""Fill the ${NAMES} of a manifest in; every one of them must be given.

python3 deploy/cloudbuild/render.py deploy/cloudrun/service.yaml PROJECT=my-project ... > service.yaml
"""

import re
import string
import sys
from collections.abc import Mapping
from pathlib import Path


class Template(string.Template):
    """Only ${NAME} is a place to fill in; every other dollar sign stays."""

    pattern = r"\$\{(?P<braced>[A-Z_]+)\}|(?P<escaped>(?!))|(?P<named>(?!))|(?P<invalid>(?!))"  # type: ignore[assignment]  # as its documentation allows


def render(text: str, values: Mapping[str, str]) -> str:
    """The text with every place filled in. Raises ValueError that names those without a value or with a bad one."""
    missing = sorted(set(re.findall(r"\$\{([A-Z_]+)\}", text)) - set(values))
    if missing:
        raise ValueError(f"no value for {', '.join(missing)}")
    bad = sorted(name for name, value in values.items() if not re.fullmatch(r"[\w.:/@,+-]*", value))
    if bad:
        raise ValueError(f"a value with characters that do not belong into a manifest: {', '.join(bad)}")
    return Template(text).substitute(values)


def filled(manifest: Path, values: Mapping[str, str], folder: Path) -> Path:
    """The file of that name in a folder, filled in."""
    written = folder / manifest.name
    written.write_text(render(manifest.read_text(), values))
    return written


if __name__ == "__main__":
    try:
        sys.stdout.write(render(Path(sys.argv[1]).read_text(), dict(pair.split("=", 1) for pair in sys.argv[2:])))
    except ValueError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
