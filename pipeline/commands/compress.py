"""`everyframe compress`: a smaller model from a larger one."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from everyframe.pipeline.commands import options as o
from everyframe.pipeline.errors import UsageError


def compress(
    model: Annotated[str, Parameter(help="What to start from: full, or a .safetensors file of NanoDet-g. [default: full]")] = "full",
    *,
    calibrate: Annotated[list[str] | None, Parameter(help="Videos to learn and calibrate from; globs are expanded. Several times, or with commas.", group=o.MODEL)] = None,
    out: Annotated[str, Parameter(help="File for the model. [default: small.safetensors]", group=o.OUTPUT)] = "small.safetensors",
    recipe: Annotated[str | None, Parameter(help="fast (int8), tiny (pruned, distilled, int8) or slim (several widths in one file). [default: fast]", group=o.MODEL)] = None,
    prune: Annotated[float | None, Parameter(help="Share of the channels to leave out, 0 to 0.9.", group=o.MODEL)] = None,
    importance: Annotated[Literal["magnitude", "scale", "taylor"], Parameter(help="By which channels (or rows) go: size of weights, spread of what channels give, or what the loss loses; the last two look at pictures. [default: magnitude]", group=o.MODEL)] = "magnitude",
    block: Annotated[int | None, Parameter(help="Channels kept are a multiple of it, 1 to 64. [default: 16]", group=o.MODEL)] = None,
    thin: Annotated[float | None, Parameter(help="Share of the work of 3x3 kernels to leave out as whole rows or columns, 0 to 0.66.", group=o.MODEL)] = None,
    decompose: Annotated[str | None, Parameter(help="tucker, tt, tr, cp or btd, and the share of the energy to keep (tucker:0.8), or ranks that stand out of the noise (tucker:vbmf).", group=o.MODEL)] = None,
    steps: Annotated[int | None, Parameter(help="Steps of learning from MODEL; a step is 8 cuts of pictures.", group=o.MODEL)] = None,
    pictures: Annotated[int | None, Parameter(help="Learn from that many pictures. [default: up to 260 of each video, evenly]", group=o.MODEL)] = None,
    select: Annotated[Literal["coreset", "uncertain", "random"], Parameter(help="Which pictures --pictures takes. [default: random]", group=o.MODEL)] = "random",
    bits: Annotated[Literal["8", "4", "ternary", "binary"], Parameter(help="Of weights in the file; below 8 give --qat too. [default: 8]", group=o.MODEL)] = "8",
    qat: Annotated[int, Parameter(help="Further steps of learning, with weights and activations rounded. [default: 0]", group=o.MODEL)] = 0,
    update_bits: Annotated[int | None, Parameter(help="Of gradients and updates while it learns, 4 to 16: to see what it costs. [default: floating point]", group=o.MODEL)] = None,
    float32: Annotated[bool, o.flag("Leave weights and activations in floating point.", o.MODEL)] = False,
    check: Annotated[list[str] | None, Parameter(help="Videos to judge by, not learned from. [default: the last fifth of the others]", group=o.MODEL)] = None,
    imgsz: o.ImgszOption = None,
    seed: o.SeedOption = None,
    quiet: Annotated[bool, o.flag("No progress.", o.OUTPUT)] = False,
    json: o.JsonFlag = False,
) -> int:
    """Make a detector smaller and faster, and say by how much on this machine.

    Learning goes on where it was interrupted: the checkpoint lies beside the file until it is done.
    """  # fmt: skip
    from everyframe.pipeline.compression.make import Order, make
    from everyframe.pipeline.compression.recipe import Recipe, decomposition, recipe_named
    from everyframe.pipeline.runs.inputs import expand
    from everyframe.pipeline.runs.progress import make_progress

    videos = expand(o.split(calibrate))
    if not videos:
        raise UsageError("no video to calibrate from: name some with --calibrate, as in --calibrate 'cameras/*.mp4'")
    base = recipe_named(recipe or "fast")
    made = Recipe(
        prune=base.prune if prune is None else prune,
        decompose=base.decompose if decompose is None else decomposition(decompose),
        steps=base.steps if steps is None else steps,
        int8=not float32,
        widths=base.widths,
        bits=bits,
        aware=qat,
        update_bits=update_bits,
        thin=base.thin if thin is None else thin,
        importance=importance,
        block=base.block if block is None else block,
    )
    order = Order(model, made, tuple(videos), tuple(expand(o.split(check))), out, imgsz or 640, seed or 0, pictures, select)
    with make_progress(quiet) as progress:
        verdict = make(order, progress.note)
    show(order.recipe.text, verdict, json)
    return 0


def show(recipe: str, verdict: object, as_json: bool) -> None:
    """Prints what came out."""
    import orjson

    from everyframe.pipeline.compression.judge import Verdict

    assert isinstance(verdict, Verdict)
    if as_json:
        row = {name: getattr(verdict, name) for name in verdict.__slots__}
        print(orjson.dumps({"recipe": recipe, **row, "speedup": verdict.speedup}).decode())
        return
    print(f"{verdict.model}: {recipe}; {verdict.bytes / 1e6:.1f} MB")
    print(f"  agrees with the larger model to F1 {verdict.f1:.3f} on {verdict.frames} pictures with {verdict.objects} objects")
    print(f"  {verdict.cpu_ms:.1f} ms a look here ({verdict.runtime}, {verdict.precision}), {verdict.speedup:.1f} x faster than "
          f"{verdict.full_ms:.1f} ms")  # fmt: skip
    print(f"Use it:  everyframe run clip.mp4 --model {verdict.model}")
