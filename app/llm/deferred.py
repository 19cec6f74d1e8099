"""Import one module of a large package without the hundreds that the package's own `__init__` would import."""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType


def defer(name: str) -> ModuleType:
    """Let a package that is not imported yet wait with its `__init__` until somebody asks for a name defined there.

    A module of the package is found as usual and does not start it. Whoever uses the package otherwise notices
    nothing but the time. Python 3.15 does the same for packages that ask for it.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package, loader = module_from_spec(spec), spec.loader

    def missing(attribute: str) -> object:
        """A module of the package, or whatever its `__init__` makes."""
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        try:
            return import_module(f"{name}.{attribute}")
        except ModuleNotFoundError as error:
            if error.name != f"{name}.{attribute}":
                raise
        vars(package).pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, attribute)

    package.__getattr__ = missing  # type: ignore[method-assign]  # PEP 562: a module may have one of its own
    sys.modules[name] = package
    parent, _, leaf = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], leaf, package)
    return package
