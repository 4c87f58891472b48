"""Starts dripfeed under another name: `tap-asana` is dripfeed as a Singer tap of Asana, `source-asana` as an Airbyte source.

The wheel puts the binary `dripfeed` among the scripts of its environment. The scripts beside it call `main`, which replaces this
process by the binary; the binary takes source and protocol from the name that it is called by.
"""
import os
import sys
import sysconfig


def binary():
    """The path of the binary."""
    folders = [
        sysconfig.get_path("scripts"),
        # A script that was linked to another folder, as pipx does.
        os.path.dirname(os.path.realpath(sys.argv[0])),
        sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")) if sys.version_info >= (3, 10) else "",
        # `pip install --target`.
        os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin"),
    ]
    paths = [os.path.join(folder, "dripfeed") for folder in folders if folder]
    found = next((path for path in paths if os.access(path, os.X_OK)), None)
    if not found:
        sys.exit("the binary `dripfeed` is not in any of: " + ", ".join(dict.fromkeys(paths)) + "; install tap-dripfeed again")
    return found


def main():
    """Becomes the binary, called as this script is."""
    os.execv(binary(), [os.path.basename(sys.argv[0]), *sys.argv[1:]])
