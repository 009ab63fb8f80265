"""A small Kubernetes cluster for tests: API server, Job controller, scheduler and kubelet in one process.

It serves until SIGTERM, or until its standard input closes where that is a pipe, so that the end of a
test takes it along; it leaves no container and no process behind.
"""

import argparse
import asyncio
import os
import shutil
import signal
import stat
import sys
import threading
from pathlib import Path

from aiohttp import web

from .api import Api
from .docker import Docker
from .jobs import Controller
from .kinds import PVCS
from .kubelet import Kubelet
from .local import Local
from .objects import Store
from .scheduler import Scheduler
from .volumes import claim_folder

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters:
- name: test
  cluster:
    server: http://127.0.0.1:{port}
contexts:
- name: test
  context:
    cluster: test
    user: test
    namespace: default
current-context: test
users:
- name: test
  user: {{}}
"""


def options():
    parser = argparse.ArgumentParser(prog="cluster", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="the file to write once the cluster is ready")
    parser.add_argument("--state", type=Path, required=True, help="the folder for volumes and logs")
    parser.add_argument(
        "--runner", default="docker", help="'docker', or a program that stands for every image (default: docker)"
    )
    parser.add_argument("--kube-version", default="v1.33.0")
    parser.add_argument("--nodes", type=int, default=1, help="how many nodes it has; all are this machine (default: 1)")
    return parser.parse_args()


def end_with_stdin(loop, end):
    """Calls `end` when a pipe on standard input closes; a terminal or a file there says nothing."""
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return

    def drain():
        while os.read(sys.stdin.fileno(), 4096):
            pass
        loop.call_soon_threadsafe(end)

    threading.Thread(target=drain, daemon=True).start()


async def serve(given):
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    end_with_stdin(loop, ended.set)
    state = given.state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    store = Store()
    Controller(store)
    runtime = Docker() if given.runner == "docker" else Local(given.runner)
    kubelet = Kubelet(store, Scheduler(store, given.nodes), runtime, state)

    def reclaim(event, kind, obj):
        if kind is PVCS and event == "DELETED":
            shutil.rmtree(claim_folder(state, obj), ignore_errors=True)

    store.listeners.append(reclaim)
    runner = web.AppRunner(Api(store, kubelet, given.kube_version).app(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    draft = given.kubeconfig.with_name(given.kubeconfig.name + ".draft")
    draft.write_text(KUBECONFIG.format(port=runner.addresses[0][1]))
    draft.replace(given.kubeconfig)
    await ended.wait()
    await kubelet.close()
    await runner.cleanup()


asyncio.run(serve(options()))
