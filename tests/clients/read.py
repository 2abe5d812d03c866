"""Prints the events of a stream, one JSON array a line: name, data, last id.

httpx-sse reads one answer; whoever uses it comes back himself, as this does, after
`retry:` and with the last id. It ends after `close`, or when there is no more (204).
"""

import json
import sys
import time

import httpx
import httpx_sse


def read(url: str) -> None:
    last_id, retry_s = "", 3.0
    # The programs are never silent for longer than 25 s.
    with httpx.Client(timeout=httpx.Timeout(10, read=60)) as client:
        while True:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                with httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
                    if source.response.status_code == 204:
                        return
                    for event in source.iter_sse():
                        last_id = event.id
                        if event.retry is not None:
                            retry_s = event.retry / 1000
                        print(json.dumps([event.event, event.data, event.id]), flush=True)
                        if event.event == "close":
                            return
            except httpx.TransportError:
                pass
            time.sleep(retry_s)


read(sys.argv[1])
