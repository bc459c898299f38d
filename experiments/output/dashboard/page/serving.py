"""The server of the page: one process, on the loopback address, until Ctrl-C."""

import errno
import socket
from collections.abc import Callable
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from nextone.sim.scenario import SettingError

from .app import make_app

HOST = "127.0.0.1"
USUAL_PORT = 8050


class Silent(WSGIRequestHandler):
    """A request handler that prints nothing about each request."""

    def log(self, type: str, message: str, *args: object) -> None:
        """Print nothing."""
        if type == "error":
            super().log(type, message, *args)


def serve(root: Path, port: int | None, said: Callable[[str], None]) -> None:
    """Serve the page on what is under a folder. said: is called with one line, which has the address.

    port: 0 for any that is free; None: the usual one, or one that is free where that is taken. Raises SettingError if a
    port that was asked for cannot be had."""
    listening, taken = _listening(port)
    with listening:
        at = listening.getsockname()[1]
        app, fd = make_app(root).server, listening.fileno()
        server = make_server(HOST, at, app, threaded=True, request_handler=Silent, fd=fd)
        said(f"http://{HOST}:{at}/ shows what is under {root}{taken}; Ctrl-C ends it")
        server.serve_forever()
        raise KeyboardInterrupt  # the only way to end it, which werkzeug keeps to itself


def _listening(port: int | None) -> tuple[socket.socket, str]:
    """(a socket that listens, what is to be said of its port)."""
    try:
        return _socket(USUAL_PORT if port is None else port), ""
    except OSError as error:
        if port is None and error.errno == errno.EADDRINUSE:
            return _socket(0), f" (port {USUAL_PORT} is taken)"
        raise SettingError(
            f"--port {port}: {error.strerror or error}; give another one, or 0 for any that is free"
        ) from None


def _socket(port: int) -> socket.socket:
    return socket.create_server((HOST, port))
