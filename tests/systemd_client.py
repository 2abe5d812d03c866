"""A FastCGI client for tests/systemd.sh: one GET, whose answer it prints as it comes.

    systemd_client.py SOCKET SECONDS NAME=VALUE... [--until PATTERN]

It ends at END_REQUEST, or at a line like PATTERN; anything else is a failure.
"""

import re
import socket
import struct
import sys

BEGIN, END, PARAMS, STDIN, STDOUT = 1, 3, 4, 5, 6


def record(kind, content=b""):
    return struct.pack("!BBHHBx", 1, kind, 1, len(content), 0) + content


def pair(name, value):
    lengths = b"".join(struct.pack("!I", len(text) | 1 << 31) for text in (name, value))
    return lengths + name + value


def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            sys.exit("the connection was closed in the middle of an answer")
        data += more
    return data


def main(path, seconds, *words):
    until = None
    if "--until" in words:
        place = words.index("--until")
        until, words = re.compile(words[place + 1], re.M), words[:place]
    settings = dict(word.split("=", 1) for word in words)
    settings |= {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/events", "GATEWAY_INTERFACE": "CGI/1.1"}
    params = b"".join(pair(name.encode(), value.encode()) for name, value in settings.items())
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(float(seconds))
    connection.connect(path)
    begin = struct.pack("!HB5x", 1, 0)
    connection.sendall(
        record(BEGIN, begin) + record(PARAMS, params) + record(PARAMS) + record(STDIN)
    )
    answer = ""
    while True:
        _, kind, _, length, padding = struct.unpack("!BBHHBx", exactly(connection, 8))
        content = exactly(connection, length + padding)[:length]
        if kind == STDOUT:
            text = content.decode()
            print(text, end="", flush=True)
            answer += text
            if until and until.search(answer):
                return
        if kind == END:
            return


main(*sys.argv[1:])
