"""A camera for tests: serves GStreamer pipelines as RTSP mounts on 127.0.0.1, over TCP and UDP, nothing re-encoded.

Started by server.ts, which documents the mounts. Standard input begins with one line of JSON, the description of the
camera, and then stays open: its end is the end of the camera. Standard output gets `ready PORT`.
"""

import ctypes
import json
import os
import signal
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

ROLE = "viewer"
PR_SET_PDEATHSIG = 1


def die_with_parent():
    """The end of standard input ends a camera that runs; the signal ends one that is stopped by SIGSTOP too."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()


def gate(pipeline, probe):
    """After so many buffers nothing comes out of the element: no end of stream, no RTCP BYE, as if a wire was cut."""
    left = probe["afterBuffers"]

    def on_buffer(_pad, _info):
        nonlocal left
        left -= 1
        return Gst.PadProbeReturn.OK if left >= 0 else Gst.PadProbeReturn.DROP

    pipeline.get_by_name(probe["element"]).get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, on_buffer)


def jump(pipeline, probe):
    """After so many buffers RTP time stamps are later by `seconds`; when packets are sent does not change."""
    left = probe["afterBuffers"]
    before = pipeline.get_by_name(probe["element"]).get_static_pad("src")
    after = pipeline.get_by_name(probe["payloader"]).get_static_pad("src")
    offset = int(probe["seconds"] * Gst.SECOND)

    def on_buffer(_pad, _info):
        nonlocal left
        left -= 1
        if left > 0:
            return Gst.PadProbeReturn.OK
        # In the streaming thread, so both take effect with the next buffer.
        before.set_offset(offset)
        after.set_offset(-offset)
        return Gst.PadProbeReturn.REMOVE

    before.add_probe(Gst.PadProbeType.BUFFER, on_buffer)


def show_as_decoded(pipeline, probe):
    """The parser of a byte stream knows when a frame is decoded only; without B-frames it is shown at that time."""

    def on_buffer(_pad, info):
        buffer = info.get_buffer()
        buffer.pts = buffer.dts
        return Gst.PadProbeReturn.OK

    pipeline.get_by_name(probe["element"]).get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, on_buffer)


PROBES = {"gate": gate, "jump": jump, "show-as-decoded": show_as_decoded}


def make_factory(mount, clock):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(mount["launch"])
    factory.set_shared(mount["shared"])
    if clock is not None:
        factory.set_clock(clock)

    def on_configure(_factory, media):
        for probe in mount["probes"]:
            PROBES[probe["kind"]](media.get_element(), probe)

    factory.connect("media-configure", on_configure)
    return factory


def make_clock(ppm):
    """A clock that runs faster than the machine's by so many parts per million; None stands for the machine's own."""
    if ppm == 0:
        return None
    clock = Gst.SystemClock(name="camera-clock")
    now = clock.get_internal_time()
    clock.set_calibration(now, now, 1_000_000 + ppm, 1_000_000)
    return clock


def require_password(server, factories, user, password, method):
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    if method == "basic":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    server.set_auth(auth)
    may = f"{ROLE}, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    for factory in factories:
        factory.add_role_from_structure(Gst.Structure.new_from_string(may))


def main():
    camera = json.loads(sys.stdin.readline())
    die_with_parent()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(camera["port"]))
    clock = make_clock(camera["clockPpm"])
    factories = {mount["path"]: make_factory(mount, clock) for mount in camera["mounts"]}
    for path, factory in factories.items():
        server.get_mount_points().add_factory(path, factory)
    if camera["user"]:
        require_password(server, factories.values(), camera["user"], camera["password"], camera["auth"])
    if server.attach(None) == 0:
        sys.exit(f"port {camera['port']} cannot be listened on")
    print("ready", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
