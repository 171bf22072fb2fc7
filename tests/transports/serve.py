"""Run one application of ``tests/transports/apps`` until SIGTERM.

    python -m tests.transports.serve SERVER APPLICATION PORT [OPTION=VALUE …]

SERVER is a function here that runs ASGI applications, or ``own``: the application has one of its
own, ``run(port)``. Options are the server's; their values are JSON.
"""

from __future__ import annotations

import importlib
import json
import sys


def uvicorn(app, port: int, **options) -> None:
    import uvicorn

    uvicorn.run(app.app, host="127.0.0.1", port=port, log_level="warning", **options)


def hypercorn(app, port: int, **options) -> None:
    import asyncio

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config.from_mapping(bind=f"127.0.0.1:{port}", loglevel="WARNING", **options)
    asyncio.run(serve(app.app, config))


def daphne(app, port: int, **options) -> None:
    from daphne.server import Server

    Server(app.app, endpoints=[f"tcp:port={port}:interface=127.0.0.1"], **options).run()


def granian(app, port: int, **options) -> None:
    from granian import Granian

    name = f"{app.__name__}:app"
    Granian(
        name, address="127.0.0.1", port=port, interface="asgi", log_level="warning", **options
    ).serve()


def gunicorn(app, port: int, **options) -> None:
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):
        def load_config(self):
            given = {
                "bind": f"127.0.0.1:{port}",
                "worker_class": "asgi",
                "loglevel": "warning",
                "control_socket_disable": True,  # its file would be shared by all programs
            }
            for name, value in (given | options).items():
                self.cfg.set(name, value)

        def load(self):
            if options.get("worker_class") == "gthread":
                app.prepare()
            return app.app

    Application().run()


def own(app, port: int, **options) -> None:
    app.run(port, **options)


RUN = (uvicorn, hypercorn, daphne, granian, gunicorn, own)
SERVERS = {function.__name__: function for function in RUN}


def main(server: str, name: str, port: str, *options: str) -> None:
    app = importlib.import_module(f"tests.transports.apps.{name}")
    given = dict(option.split("=", 1) for option in options)
    SERVERS[server](app, int(port), **{key: json.loads(value) for key, value in given.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
