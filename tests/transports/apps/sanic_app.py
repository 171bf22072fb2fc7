"""Sanic on its own server."""

from __future__ import annotations

from sanic import Sanic

from . import ENDPOINTS, print_reports

app = Sanic("contract")


async def endpoint(request, ws) -> None:
    await ENDPOINTS.paths[request.path](ws)


for path in ENDPOINTS.paths:
    app.add_websocket_route(endpoint, path, name=path[1:])


@app.before_server_stop
async def drain(_app) -> None:
    print_reports(await ENDPOINTS.session.sessions.drain(5.0))


def run(port: int) -> None:
    app.run(
        host="127.0.0.1", port=port, single_process=True, access_log=False, motd=False, debug=False
    )
