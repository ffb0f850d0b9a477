# Runs an app from the sealed copy of its modules, which is a JSON document on the descriptor that the argument names.
import json
import os
import sys
from importlib.machinery import ModuleSpec

with os.fdopen(int(sys.argv.pop()), "rb") as sealed:
    modules = json.load(sealed)


class Sealed:
    """Finds the app's own modules, and nothing of a disk."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        return ModuleSpec(name, Sealed, origin=name + ".py") if name in modules["files"] else None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        name = module.__spec__.name
        exec(compile(modules["files"][name], name + ".py", "exec"), module.__dict__)


# The standard library goes first: an app replaces none of it.
sys.meta_path.append(Sealed)
sys.argv = [modules["entry"] + ".py"]
code = compile(modules["files"][modules["entry"]], modules["entry"] + ".py", "exec")
exec(code, {"__name__": "__main__"})
