"""hatchling's hook for the wheel: puts the binary among its scripts, and names the systems that it runs on.

The binary is the one that DRIPFEED_BINARY names; without it cargo builds one, as when pip installs the sources. maturin cannot make this
wheel: it refuses scripts beside a binary, gives one of two platform tags, and compiles what is compiled already.
"""
import os
import subprocess
import sysconfig
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Binary(BuildHookInterface):
    """Called by hatchling for each wheel."""

    def initialize(self, version, build_data):
        """Adds the binary, and the tag."""
        binary = os.environ.get("DRIPFEED_BINARY")
        if not binary:
            subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "dripfeed"], cwd=self.root, check=True)
            binary = Path(self.root) / os.environ.get("CARGO_TARGET_DIR", "target") / "release/dripfeed"
        build_data["shared_scripts"][str(binary)] = "dripfeed"
        build_data["pure_python"] = False
        # What `.ci/wheel` adds: the licences of what is linked in, and the bill of materials.
        if licences := os.environ.get("DRIPFEED_LICENCES"):
            build_data["force_include"][licences] = "tap_dripfeed/THIRD-PARTY-LICENSES.txt"
        if bill := os.environ.get("DRIPFEED_BILL"):
            build_data["sbom_files"].append(bill)
        build_data["tag"] = f"py3-none-{os.environ.get('DRIPFEED_PLATFORM') or sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
