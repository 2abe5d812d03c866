"""Prints the events of a stream as sseclient gives them, one JSON array a line: name, data."""

import json
import sys

import sseclient

for event in sseclient.SSEClient(sys.argv[1]):
    print(json.dumps([event.event, event.data]), flush=True)
