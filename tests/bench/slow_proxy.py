"""Passes TCP connections on, each at no more than so many megabytes a second: as networks and TLS do.

slow_proxy.py PORT SERVER_PORT MEGABYTES
"""

import socket
import sys
import threading
import time

CHUNK = 256 << 10


def pass_on(source, target, rate):
    """Moves bytes until one side ends; `rate` is in bytes a second, None is as fast as it goes."""
    begin, moved = time.monotonic(), 0
    try:
        while data := source.recv(CHUNK):
            target.sendall(data)
            if rate is None:
                continue
            moved += len(data)
            ahead = moved / rate - (time.monotonic() - begin)
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -0.1:
                # what was not used is not saved up
                begin, moved = time.monotonic(), 0
    except OSError:
        pass
    finally:
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def main():
    port, server, rate = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) * 1e6
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        upstream = socket.create_connection(("127.0.0.1", server))
        for end in (client, upstream):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=pass_on, args=(client, upstream, None), daemon=True).start()
        threading.Thread(target=pass_on, args=(upstream, client, rate), daemon=True).start()


main()
