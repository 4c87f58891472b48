#!/usr/bin/env python3
"""Checks a bill of materials: CycloneDX's own schema, and that it names what Cargo.lock has and nothing twice.

The last line is `N passed, N failed`.

usage: sbom_conform.py BOM.json      (a Python that has cyclonedx-python-lib[json-validation])
"""
import json
import sys
import subprocess
import tomllib
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

sys.path.append(str(Path(__file__).resolve().parents[1] / "e2e"))
from support import ROOT, Checks  # noqa: E402


def main():
    text, checks = Path(sys.argv[1]).read_text(), Checks()
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    checks.ok("it is valid by the schema of CycloneDX 1.5", error is None, str(error or "")[:400])
    bom, lock = json.loads(text), tomllib.loads((ROOT / "Cargo.lock").read_text())
    locked = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}
    parts = [*bom["components"], bom["metadata"]["component"]]
    names = [(part["name"], part["version"]) for part in parts]
    checks.ok("each crate stands once", len(set(names)) == len(names), len(names))
    checks.ok("each is one of Cargo.lock's", set(names) <= set(locked), sorted(set(names) - set(locked)))
    wrong = [part["name"] for part in bom["components"]
             if [one["content"] for one in part.get("hashes", [])] != [locked[part["name"], part["version"]]]]
    checks.ok("each has its checksum", not wrong, wrong)
    bare = [part["name"] for part in parts if not part.get("licenses")]
    checks.ok("each has a licence", not bare, bare)
    direct = tomllib.loads((ROOT / "Cargo.toml").read_text())["dependencies"]
    missing = set(direct) - {part["name"] for part in bom["components"]}
    checks.ok("each dependency of Cargo.toml is there", not missing, sorted(missing))
    refs = {part["bom-ref"] for part in parts}
    loose = {need for entry in bom["dependencies"] for need in [entry["ref"], *entry["dependsOn"]]} - refs
    checks.ok("dependencies name only what is there", not loose, sorted(loose))
    dev = tomllib.loads((ROOT / "Cargo.toml").read_text()).get("dev-dependencies", {})
    # Some crates serve tests directly and the build by way of another (syn).
    tree = ["cargo", "tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]
    needed = {line.split()[0] for line in subprocess.run(tree, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n") if line}
    found = (set(dev) - needed) & {part["name"] for part in parts}
    checks.ok("nothing that only tests need is there", not found, sorted(found))
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
