"""Write an app for Pilot's app store in Python: typed functions, JSON in and JSON out.

    from pilot_app import App

    app = App()

    @app.method
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    app.serve()

One file, the standard library alone, Python 3.9 or later. The daemon checks arguments and results against the schemas of the app's
manifest, and holds its process to what its owner granted: it has no sockets, no threads and no processes of its own. An app with grants
for it serves by ``app.serve(connected=True)``; then ``connect(host, port)`` and ``connect_peer(peer, port)`` give a socket that the daemon
connected. What is printed goes to the app's log.
"""

import array
import inspect
import json
import os
import socket
import types
import typing

# JSON-RPC 2.0, section 5.1.
PARSE_ERROR, METHOD_NOT_FOUND, INVALID_PARAMS, APP_ERROR = -32700, -32601, -32602, -32000

#: ``Optional[str]``, and from Python 3.10 on ``str | None``.
_UNIONS = (typing.Union, getattr(types, "UnionType", typing.Union))
#: Standard input is the socket to the daemon, in both directions.
_DAEMON = 0
#: The channel to the daemon's broker, once it came.
_broker = None


class Error(Exception):
    """What a method answers instead of a result: words for the caller, and a code of the app's own."""

    def __init__(self, message, code=APP_ERROR):
        super().__init__(message)
        self.code = code


class App:
    """An app: its methods by their names."""

    def __init__(self):
        self._methods = {}

    def method(self, function=None, *, name=None):
        """Adds a function as a method, under its own name or another. Its arguments are the fields of the call's arguments."""
        if function is None:
            return lambda function: self.method(function, name=name)
        self._methods[name or function.__name__] = (function, _Parameters(function))
        return function

    def serve(self, connected=False):
        """Answers calls until the daemon ends the app. ``connected``: for an app that was granted connections."""
        rest = _take_broker() if connected else b""
        while True:
            *lines, rest = rest.split(b"\n")
            for line in lines:
                if line:
                    _write(self.answer(line))
            more = os.read(_DAEMON, 65536)
            if not more:
                return
            rest += more

    def answer(self, line):
        """The answer to one request, as bytes: for tests."""
        number = None
        try:
            try:
                request = json.loads(line)
                number = request["id"]
                name = request["method"]
            except (ValueError, KeyError, TypeError) as error:
                raise Error(f"not a request: {error}", PARSE_ERROR) from error
            if name not in self._methods:
                raise Error(f"no method {name!r}", METHOD_NOT_FOUND)
            function, parameters = self._methods[name]
            result = function(**parameters.check(request.get("params") or {}))
            return _line({"id": number, "result": result})
        except Error as error:
            return _failure(number, error.code, str(error))
        except Exception as error:  # The caller learns of it, and the app goes on.
            return _failure(number, APP_ERROR, f"{type(error).__name__}: {error}")


class _Parameters:
    """What a function takes, by the types that it names. What has no type, or another than these, is taken as it comes."""

    _KINDS = {
        str: str,
        bool: bool,
        int: int,
        float: (int, float),
        list: list,
        dict: dict,
        type(None): type(None),
    }

    def __init__(self, function):
        hints = typing.get_type_hints(function)
        self._all = inspect.signature(function).parameters
        self._hints = {name: hints[name] for name in self._all if name in hints}
        kinds = (parameter.kind for parameter in self._all.values())
        self._takes_any = inspect.Parameter.VAR_KEYWORD in kinds

    def check(self, given):
        """The arguments by their names, if they fit."""
        if not isinstance(given, dict):
            raise Error("expected an object", INVALID_PARAMS)
        for name, parameter in self._all.items():
            is_named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if is_named and name not in given and parameter.default is parameter.empty:
                raise Error(f"{name} is missing", INVALID_PARAMS)
        for name, value in given.items():
            if name not in self._all and not self._takes_any:
                raise Error(f"{name} is not known", INVALID_PARAMS)
            if name in self._hints and not self._fits(value, self._hints[name]):
                raise Error(f"{name} is not of its type", INVALID_PARAMS)
        return given

    def _fits(self, value, hint):
        if typing.get_origin(hint) in _UNIONS:
            return any(self._fits(value, part) for part in typing.get_args(hint))
        kind = self._KINDS.get(typing.get_origin(hint) or hint)
        if kind is None:
            return True
        # A bool is an int to Python, and to nobody else.
        return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def connect(host, port):
    """A socket that the daemon connected to a host and a TCP port that were granted. It has no timeout: a call's deadline holds.

    ``PermissionError`` if it was not granted, ``OSError`` for the rest, in the daemon's words.
    """
    return _ask({"host": host, "port": port})


def connect_peer(peer, port):
    """The same for an agent and a port of the overlay."""
    return _ask({"peer": peer, "port": port})


def _ask(request):
    if _broker is None:
        raise OSError("no broker: the app has no grant for connections, or does not serve connected")
    os.write(_broker, json.dumps(request).encode())
    answer, descriptor = _receive(_broker, socket.SOCK_SEQPACKET, 4096)
    error = json.loads(answer).get("error")
    if error is not None:
        kinds = {"not_granted": PermissionError, "inside": PermissionError, "timeout": TimeoutError}
        raise kinds.get(error["kind"], OSError)(error["message"])
    if descriptor is None:
        raise OSError("the app has too many files open")
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptor)


def _take_broker():
    """The first line of an app with grants for connections is empty, and has the channel with it."""
    global _broker
    first, _broker = _receive(_DAEMON, socket.SOCK_STREAM, 1)
    return b"" if first == b"\n" else first


def _receive(descriptor, kind, most):
    """Bytes, and the descriptor that came with them."""
    # With its family and kind named, nothing is asked of the kernel that the sandbox refuses.
    channel = socket.socket(socket.AF_UNIX, kind, 0, fileno=descriptor)
    try:
        space = socket.CMSG_SPACE(array.array("i", [0]).itemsize)
        received, messages, _, _ = channel.recvmsg(most, space)
    finally:
        channel.detach()
    for level, what, data in messages:
        if level == socket.SOL_SOCKET and what == socket.SCM_RIGHTS:
            found = array.array("i")
            found.frombytes(data[: found.itemsize])
            return received, found[0]
    return received, None


def _line(answer):
    return json.dumps({"jsonrpc": "2.0", **answer}, separators=(",", ":")).encode() + b"\n"


def _failure(number, code, message):
    return _line({"id": number, "error": {"code": code, "message": message}})


def _write(line):
    while line:
        line = line[os.write(_DAEMON, line) :]
