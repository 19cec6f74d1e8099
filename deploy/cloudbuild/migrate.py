#!/usr/bin/env python3
"""Bring the database up to the new image's schema: a Cloud Run job, run and awaited before anything is deployed.

The old revisions go on serving meanwhile and after a roll-back, so that every migration must leave them able to work.
"""

import argparse
import json
import sys
from pathlib import Path

from cloudrun import Failed, gcloud, say
from render import filled

JOB_FILE = Path(__file__).parents[1] / "cloudrun" / "migrate.yaml"


def migrate(options: argparse.Namespace) -> None:
    """The job with this image, executed to its end. Raises Failed."""
    image, region = Path(options.image_file).read_text().strip(), f"--region={options.region}"
    listed = gcloud("run", "jobs", "list", region, f"--filter=metadata.name={options.job}", "--format=json")
    if json.loads(listed):
        gcloud("run", "jobs", "update", options.job, region, f"--image={image}")
    else:
        say(f"there is no job {options.job} yet: it is made from {JOB_FILE.name}")
        values = dict(pair.split("=", 1) for pair in options.values) | {"IMAGE": image}
        manifest = filled(JOB_FILE, values, Path(options.image_file).parent)
        gcloud("run", "jobs", "replace", str(manifest), region)
    gcloud("run", "jobs", "execute", options.job, region, "--wait")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--go", choices=("yes", "no"), default="yes", help="no: do nothing, as before there is a job")
    parser.add_argument("--job", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--image-file", required=True, help="the file with the image, by its digest")
    parser.add_argument("--values", nargs="*", default=[], metavar="NAME=VALUE", help="for migrate.yaml")
    options = parser.parse_args()
    if options.go == "no":
        say("migrate: not asked for")
        return 0
    try:
        migrate(options)
    except Failed as error:
        say(f"red: {error}; nothing was deployed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
