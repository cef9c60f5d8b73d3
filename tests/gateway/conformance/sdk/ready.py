"""Prints the requirements that this Python lacks, and exits with 1 if there are any. Uses no packages."""

import importlib.metadata
import pathlib
import sys


def missing():
    listed = pathlib.Path(__file__).with_name("requirements.txt").read_text()
    for name, version in (line.split("==") for line in listed.split()):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "nothing"
        if found != version:
            yield f"{name}=={version} (found {found})"


if __name__ == "__main__":
    lacking = list(missing())
    print("\n".join(lacking))
    sys.exit(1 if lacking else 0)
