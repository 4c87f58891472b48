"""Starts dripfeed under another name: `tap-asana` is dripfeed as a Singer tap of Asana, `source-asana` as an Airbyte source.

The wheel puts the binary `dripfeed` among the scripts of its environment. The scripts beside it call `main`, which replaces this
process by the binary; the binary takes source and protocol from the name that it is called by.
"""
import os
import sys


def folders():
    """Where the binary may be, the likeliest first."""
    # Beside the script; the script may be linked to another folder, as pipx does.
    yield os.path.dirname(os.path.realpath(sys.argv[0]))
    # `pip install --target`.
    yield os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin")
    import sysconfig  # takes longer than all the rest
    yield sysconfig.get_path("scripts")
    if sys.version_info >= (3, 10):
        yield sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))


def binary():
    """The path of the binary."""
    paths = []
    for folder in folders():
        paths.append(os.path.join(folder, "dripfeed"))
        if os.access(paths[-1], os.X_OK):
            return paths[-1]
    sys.exit("the binary `dripfeed` is not in any of: " + ", ".join(dict.fromkeys(paths)) + "; install tap-dripfeed again")


def main():
    """Becomes the binary, called as this script is."""
    os.execv(binary(), [os.path.basename(sys.argv[0]), *sys.argv[1:]])
