"""The 80 COCO classes in the order of `class_id`, each with its supercategory."""

from __future__ import annotations

_BY_GROUP = """
person: person
vehicle: bicycle, car, motorcycle, airplane, bus, train, truck, boat
outdoor: traffic light, fire hydrant, stop sign, parking meter, bench
animal: bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
accessory: backpack, umbrella, handbag, tie, suitcase
sports: frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, \
tennis racket
kitchen: bottle, wine glass, cup, fork, knife, spoon, bowl
food: banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake
furniture: chair, couch, potted plant, bed, dining table, toilet
electronic: tv, laptop, mouse, remote, keyboard, cell phone
appliance: microwave, oven, toaster, sink, refrigerator
indoor: book, clock, vase, scissors, teddy bear, hair drier, toothbrush
"""

_PAIRS = tuple(
    (name.strip(), group.strip())
    for group, _, names in (line.partition(":") for line in _BY_GROUP.strip().splitlines())
    for name in names.split(",")
)

NAMES: tuple[str, ...] = tuple(name for name, _ in _PAIRS)
SUPERCATEGORY: tuple[str, ...] = tuple(group for _, group in _PAIRS)
