"""One sentence for each option of `everyframe watch` that other commands don't have; nothing is imported for it."""

from __future__ import annotations

WATCH_HELP: dict[str, str] = {
    "cpus": "Cores that all of it may use. Default: all of this machine.",
    "redis_maxlen": "About how many records a Redis Stream keeps; 0 keeps all. [default: 100000]",
    "retain": "In place of a number: how long a Redis Stream keeps records, as in 24h, 30m or 7d.",
    "out": "Folder for label files as well, one a camera and hour.",
    "format": "Label files to write: jsonl.",
    "spool_mb": "Disk, MB for each camera, for records while Redis is away; then the oldest go, counted. [default: 256]",
    "http": "Serve health, metrics and the live page at HOST:PORT, as in :8080 for this machine only.",
    "http_token": "What callers of --http must send. Default: $EVERYFRAME_HTTP_TOKEN. Needed beyond this machine.",
    "log_json": "One JSON line an event on stderr.",
    "engine": "ray: a process for each camera and one for the CNN. local: threads of this process. auto: ray for several.",
    "state": "Folder for counters, the spool and the state that `everyframe status` reads. [default: watch]",
    "duration": "Stop by itself after so many seconds.",
    "transport": "How RTSP comes: tcp or udp.",
    "realtime": "Play files at their own pace, as if they were cameras.",
    "loop": "Begin a file anew at its end.",
}
