"""Closed-loop protocols by name; a new one is a module of this package that registers it."""

import importlib
import pkgutil

from beyondmimic_data.control.protocols.protocol import PROTOCOLS, Protocol, get_protocol, register_protocol

__all__ = ["PROTOCOLS", "Protocol", "get_protocol", "register_protocol"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
