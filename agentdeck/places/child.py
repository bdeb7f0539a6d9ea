"""The program of a child process of the place `process`. It runs in any Python from 3.10, also where agentdeck is
not installed: it makes the package `agentdeck` of the folder that it lies in importable, of which the child uses
only modules that need nothing but the standard library. Older Pythons must be able to read this file."""

import importlib.abc
import importlib.util
import os
import sys

#: The lowest version of Python that a child can have.
LOWEST = (3, 10)


class OwnPackage(importlib.abc.MetaPathFinder):
    """Finds the package `agentdeck` in the folder of this file, before any that is installed: both ends of the
    pipe have to be of one version."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name != "agentdeck":
            return None
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
        file = os.path.join(folder, "__init__.py")  # noqa: PTH118
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=[folder])


def main():  # type: ignore[no-untyped-def]
    """Serve the pipe whose two file descriptors are the arguments."""
    if sys.version_info < LOWEST:
        version = "%d.%d" % sys.version_info[:2]  # noqa: UP031
        sys.stderr.write("it is Python %s, and at least 3.10 is needed\n" % version)  # noqa: UP031
        sys.exit(3)
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [one for one in sys.path if os.path.abspath(one or ".") != here]  # noqa: PTH100
    sys.meta_path.insert(0, OwnPackage())
    from agentdeck.places.child_calls import serve

    serve(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()  # type: ignore[no-untyped-call]
