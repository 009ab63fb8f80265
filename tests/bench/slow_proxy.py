"""Passes TCP connections on, each at no more than so many megabytes a second in either direction, and each byte so many
milliseconds later: as networks and TLS do.

slow_proxy.py PORT SERVER_PORT MEGABYTES [MILLISECONDS]
"""

import queue
import socket
import sys
import threading
import time

CHUNK = 256 << 10
WAITING = 64


def take(source, waiting, latency):
    """Reads until one side ends, and notes when each chunk is due."""
    try:
        while data := source.recv(CHUNK):
            waiting.put((time.monotonic() + latency, data))
    except OSError:
        pass
    finally:
        waiting.put((0, b""))


def give(target, waiting, rate):
    """Writes what is due; `rate` is in bytes a second."""
    begin, moved = time.monotonic(), 0
    try:
        while (entry := waiting.get())[1]:
            due, data = entry
            if (early := due - time.monotonic()) > 0:
                time.sleep(early)
            target.sendall(data)
            moved += len(data)
            ahead = moved / rate - (time.monotonic() - begin)
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -0.1:
                # what was not used is not saved up
                begin, moved = time.monotonic(), 0
    except OSError:
        pass


def pass_on(source, target, rate, latency):
    waiting = queue.Queue(WAITING)
    threading.Thread(target=take, args=(source, waiting, latency), daemon=True).start()
    give(target, waiting, rate)
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
    # whoever still reads is not kept waiting for room
    while not waiting.empty():
        waiting.get_nowait()


def main():
    port, server, rate = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) * 1e6
    latency = float(sys.argv[4]) / 1000 if len(sys.argv) > 4 else 0.0
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        upstream = socket.create_connection(("127.0.0.1", server))
        for end in (client, upstream):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target in ((client, upstream), (upstream, client)):
            threading.Thread(target=pass_on, args=(source, target, rate, latency), daemon=True).start()


main()
