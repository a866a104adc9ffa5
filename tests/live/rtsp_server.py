"""An RTSP server of one clip, for the system's Python, which has GStreamer's bindings: see `rtsp.py`.

usage: rtsp_server.py CLIP PORT RATE LOSS [USER:PASSWORD]

CLIP: an .mp4 is played once at its own times; a raw .264 stream is played at RATE frames a second, again and again. All clients
see the same moment of it. LOSS: share of the RTP packets that are left out, as on a bad line. Prints the port once it listens.
"""

import itertools
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer


def launch(clip, rate, loss):
    """The pipeline of a clip in GStreamer's own language."""
    pay = "rtph264pay name=pay0 pt=96 config-interval=-1"
    if loss:
        pay = f"rtph264pay pt=96 config-interval=-1 mtu=400 ! identity name=pay0 drop-probability={loss}"
    if clip.endswith(".mp4"):
        return f'( filesrc location="{clip}" ! qtdemux ! h264parse ! {pay} )'
    caps = f"video/x-h264,stream-format=byte-stream,framerate={rate}/1"
    parse = "h264parse name=parse ! video/x-h264,stream-format=byte-stream,alignment=au"
    return f'( multifilesrc location="{clip}" loop=true caps="{caps}" ! {parse} ! {pay} )'


def give_times(factory, media, rate):
    """A raw stream has no times of its own: frames are counted."""
    parse = media.get_element().get_by_name("parse")
    count = itertools.count()

    def stamp(pad, info):
        buffer = info.get_buffer()
        buffer.pts = buffer.dts = next(count) * Gst.SECOND // rate
        return Gst.PadProbeReturn.OK

    if parse is not None:
        parse.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, stamp)


def protect(server, factory, login):
    """Asks for a name and a password."""
    user, _, password = login.partition(":")
    auth = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken.new()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    factory.add_role_from_structure(Gst.Structure.from_string(
        "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    )[0])  # fmt: skip


def main():
    clip, port, rate, loss, *login = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(launch(clip, rate, float(loss)))
    factory.set_shared(True)
    factory.connect("media-configure", give_times, int(rate))
    if login:
        protect(server, factory, login[0])
    server.get_mount_points().add_factory("/clip", factory)
    if not server.attach(None):
        sys.exit(f"cannot listen on port {port}")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
