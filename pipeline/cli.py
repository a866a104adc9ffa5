"""The `everyframe` command: parse, call, one except, exit status. Results on stdout, all else on stderr."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from everyframe import __version__
from everyframe.operators.errors import OperatorError
from everyframe.pipeline.commands.batch import batch
from everyframe.pipeline.commands.cameras import cameras
from everyframe.pipeline.commands.clip import clip
from everyframe.pipeline.commands.compress import compress
from everyframe.pipeline.commands.costs import costs
from everyframe.pipeline.commands.doctor import doctor
from everyframe.pipeline.commands.evaluate import evaluate
from everyframe.pipeline.commands.explain import explain
from everyframe.pipeline.commands.labels import labels
from everyframe.pipeline.commands.models import models
from everyframe.pipeline.commands.query import query
from everyframe.pipeline.commands.record import record
from everyframe.pipeline.commands.replay import replay
from everyframe.pipeline.commands.run import run
from everyframe.pipeline.commands.search import search
from everyframe.pipeline.commands.simulate import simulate
from everyframe.pipeline.commands.specialize import specialize
from everyframe.pipeline.commands.status import status
from everyframe.pipeline.commands.train import train
from everyframe.pipeline.commands.train_flow import train_flow
from everyframe.pipeline.commands.verify import verify
from everyframe.pipeline.commands.watch import watch
from everyframe.pipeline.errors import EveryframeError, mask_secrets
from everyframe.pipeline.runs.progress import error_line

INTERRUPTED = 130

_EXAMPLES = {
    "": [
        "everyframe run clip.mp4",
        "everyframe run 'cameras/*.mp4' --classes person,car --redis redis://localhost",
        "everyframe evaluate clip.mp4 --policy motion --policy stride:10",
        "everyframe labels out --follow",
        "everyframe watch rtsp://camera/stream --redis embedded",
        "everyframe doctor",
    ],
    "run": [
        "everyframe run clip.mp4",
        "everyframe run a.mp4 b.mkv 'more/*.ts' --out labels --format jsonl,video",
        "everyframe run clip.mp4 --policy stride:10 --causal --conf 0.5",
        "everyframe run clip.mp4 --redis redis://localhost:6379/0 --json",
        "everyframe run long.mp4 --engine ray --workers 2",
        "everyframe run clip.mp4 --config archive --print-config",
    ],
    "evaluate": [
        "everyframe evaluate clip.mp4 --policy motion --policy stride:10",
        "everyframe evaluate clip.mp4 --policy peer:bytetrack:10 --causal --json",
        "everyframe evaluate clip.mp4 --truth gt.txt --classes person --plot cost.png",
    ],
    "labels": [
        "everyframe labels out/clip.labels.jsonl",
        "everyframe labels out --source clip --since 12.5s",
        "everyframe labels redis://localhost:6379/0 --source clip --follow",
    ],
    "watch": [
        "everyframe watch rtsp://camera/stream --redis redis://localhost:6379/0",
        "everyframe watch rtsp://a/1 rtsp://b/1 --target-f1 0.9 --cpus 1.5 --redis embedded --http :8080",
        "everyframe watch --config cameras.yaml --retain 24h",
        "everyframe watch clip.mp4 --realtime --loop --redis embedded --duration 60",
    ],
    "batch": [
        "everyframe batch recordings/ --out archive",
        "everyframe batch --manifest list.csv --out archive --address ray://head:10001 --workers 200",
        "everyframe batch 's3://bucket/cameras/*.mp4' --out archive --dry-run",
    ],
    "verify": ["everyframe verify archive", "everyframe verify archive --quick --json"],
    "status": [
        "everyframe status",
        "everyframe status --http :8080 --json",
        "everyframe status --redis redis://localhost:6379/0",
    ],
    "cameras": [
        "everyframe cameras list --redis redis://localhost:6379/0",
        "everyframe cameras add 'rtsp://user:${GATE_PASSWORD}@gate/stream' --name gate --set weight=2",
        "everyframe cameras change gate --set 'classes=[person, car]'",
        "everyframe cameras remove gate",
    ],
    "query": [
        "everyframe query out \"SELECT label, count(*) FROM objects GROUP BY label\"",
        "everyframe query out --question busiest-minutes --set label=person --format csv --out busy.csv",
        "everyframe query out --questions",
    ],
    "clip": [
        "everyframe clip out --where \"label = 'person' AND score > 0.6\" --out clips",
        "everyframe clip out --where \"label = 'car' AND x1 < 100\" --out clips --pad 3 --dry-run",
    ],
    "record": [
        "everyframe record clip.mp4",
        "everyframe record 'cameras/*.mp4' --out traces --limit 2000",
    ],
    "simulate": [
        "everyframe simulate --out synthetic --cameras 20 --seconds 60 --seed 7",
        "everyframe simulate --out synthetic --size 640x360 --rate 15 --jobs 2",
        "everyframe simulate --out synthetic --from clip.mp4 --cameras 5",
    ],
    "replay": [
        "everyframe replay traces/clip.trace.npz --policy motion --policy stride:10",
        "everyframe replay traces/clip.trace.npz --policy stride:10 --causal --detect-ms 8 --decode-ms 2",
    ],
    "train": [
        "everyframe train traces/*.trace.npz --out learned.safetensors",
        "everyframe train a.trace.npz b.trace.npz --validation c.trace.npz --out w.safetensors --minutes 10 --seeds 3",
        "everyframe train traces/*.trace.npz --out w.safetensors --log-dir logs --resume",
    ],
    "train-flow": [
        "everyframe train-flow 'cameras/*.mp4' --out weights.safetensors",
        "everyframe train-flow a.mp4 b.mp4 --limit 500 --epochs 1 --seed 7",
    ],
    "explain": [
        "everyframe explain clip.mp4 --frame 120",
        "everyframe explain clip.mp4 --frame 120 --target-f1 0.95 --causal --json",
    ],
    "compress": [
        "everyframe compress --calibrate 'cameras/*.mp4' --out fast.safetensors",
        "everyframe compress --recipe tiny --calibrate 'cameras/*.mp4' --check other.mp4 --out tiny.safetensors",
        "everyframe compress --prune 0.25 --decompose tucker:0.9 --steps 6000 --calibrate clip.mp4 --out small.safetensors",
    ],
    "specialize": [
        "everyframe specialize gate.mp4 --classes person,car --speedup 8 --out gate.safetensors",
        "everyframe run gate-tomorrow.mp4 --model gate.safetensors",
    ],
    "search": [
        "everyframe search gate.mp4 --speedup 8 --classes person,car --out chosen.safetensors",
        "everyframe search 'cameras/*.mp4' --budget-ms 6 --check other.mp4 --minutes 60 --plot front.png",
        "everyframe search gate.mp4 --model slim.safetensors --budget-ms 4",
    ],
    "models": ["everyframe models", "everyframe models gate.safetensors --json"],
    "costs": ["everyframe costs", "everyframe costs --measure", "everyframe costs --json"],
    "doctor": ["everyframe doctor", "everyframe doctor --json"],
}


def _epilogue(command: str) -> str:
    lines = "\n".join(f"  {line}" for line in _EXAMPLES[command])
    return f"Examples:\n\n{lines}\n\nErrors are one line; --debug adds the traceback. Exit 0, 1 failure, 2 misuse."


def build_app() -> App:
    """The command with its subcommands; parsing errors are raised, not printed."""
    app = App(
        name="everyframe",
        help="Labels every frame of a video while running a CNN on few of them.",
        version=f"everyframe {__version__}",
        help_epilogue=_epilogue(""),
        help_format="plaintext",
        default_parameter=Parameter(show_default=False),
        error_console=Console(stderr=True),
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for command, arguments in (
        (run, "SOURCE..."),
        (evaluate, "VIDEO"),
        (labels, "[WHERE]"),
        (query, "DIR [SQL]"),
        (clip, "DIR --where SQL --out CLIPS"),
        (record, "VIDEO..."),
        (replay, "TRACE"),
        (simulate, "--out DIR"),
        (train, "TRACE... --out FILE"),
        (train_flow, "VIDEO..."),
        (watch, "CAMERA..."),
        (status, ""),
        (cameras, "ACTION [CAMERA]"),
        (batch, "SOURCE... --out DIR"),
        (verify, "DIR"),
        (compress, "[MODEL] --calibrate VIDEO"),
        (specialize, "VIDEO..."),
        (search, "VIDEO..."),
        (models, "[FILE...]"),
        (explain, "VIDEO --frame N"),
        (costs, ""),
        (doctor, ""),
    ):
        name = command.__name__.replace("_", "-")
        usage = f"Usage: everyframe {name} {arguments}".rstrip() + " [OPTIONS]"
        app.command(command, usage=usage, help_epilogue=_epilogue(name))
    return app


def call(tokens: Sequence[str]) -> int:
    """Runs one command line and returns its exit status; no exception escapes."""
    debug = "--debug" in tokens
    return guarded(lambda: build_app()([token for token in tokens if token != "--debug"]), debug)


def guarded(action: Callable[[], object], debug: bool = False) -> int:
    """The exit status of `action`, which may return one. Every exception becomes one line on stderr."""
    try:
        status = action()
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except CycloptsError as e:
        return _fail(str(e), 2, debug)
    except EveryframeError as e:
        return _fail(str(e), e.exit_code, debug)
    except OperatorError as e:
        return _fail(str(e), 1, debug)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED, debug)
    except BrokenPipeError:
        # The reader of our output has gone, as in `| head`: no failure. Python would complain at exit otherwise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return _fail("out of memory: use fewer --workers or a smaller --imgsz", 1, debug)
    except Exception as e:  # noqa: BLE001 - a fault of ours must not look like a crash
        text = f"{type(e).__name__}: {e}"[:300]
        return _fail(f"unexpected {text}; run it again with --debug and report what it prints", 1, debug)


def main() -> NoReturn:
    log_to_stderr()
    sys.exit(call(sys.argv[1:]))


class _Stderr(logging.Handler):
    """Plain lines to what is stderr at the time: a progress bar stands in for it while it is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        print(mask_secrets(record.getMessage()), file=sys.stderr, flush=True)


def log_to_stderr() -> None:
    """Lets everyframe's own warnings reach the user; other packages' are theirs."""
    logger = logging.getLogger("everyframe")
    if not logger.handlers:
        logger.addHandler(_Stderr())
        logger.propagate = False


def _fail(sentence: str, status: int, debug: bool) -> int:
    if debug:
        print(mask_secrets(traceback.format_exc()), file=sys.stderr, end="")
    print(error_line(sentence), file=sys.stderr)
    return status
