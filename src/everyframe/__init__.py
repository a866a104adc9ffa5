"""everyframe: labels for every frame of a video, with the CNN run on few of them."""

__version__ = "0.1.0"
