"""Videos read by range over real HTTP and from a local S3 look-alike."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import av
import boto3
import pytest
from moto.server import ThreadedMotoServer
from ranges import RangeServer, serving

from everyframe.pipeline.errors import SinkError, SourceBroken, SourceError, UsageError
from everyframe.pipeline.sinks.video import display_frames
from everyframe.pipeline.sources import remote
from everyframe.pipeline.sources.file import FileSource
from everyframe.pipeline.sources.remote import BLOCK, RemoteError, RemoteFile, expand, fingerprint, is_remote
from everyframe.pipeline.sources.shards import plan_shards

TIMES = 2


@pytest.fixture(scope="session")
def long_video(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some minutes of a real camera, its packets repeated."""
    target = tmp_path_factory.mktemp("remote") / "long.mp4"
    with av.open(str(target), "w", options={"movflags": "faststart"}) as output:
        shift, stream = 0, None
        for _ in range(TIMES):
            with av.open(str(data_dir / "pets_s2l1" / "pets_s2l1_ip.mp4")) as container:
                video = container.streams.video[0]
                stream = stream or output.add_stream_from_template(video)
                end = shift
                for packet in container.demux(video):
                    if packet.dts is not None and packet.pts is not None:
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        end = packet.pts + (packet.duration or 0)
                        packet.stream = stream
                        output.mux(packet)
                shift = end
    assert target.stat().st_size > 20 * BLOCK
    return target


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and no blocks kept from another test."""
    monkeypatch.setattr(remote, "PAUSE_S", 0.01)
    remote._caches.clear()


@pytest.fixture
def server(long_video: Path) -> Iterator[RangeServer]:
    with serving(long_video.parent) as running:
        yield running


@pytest.fixture(scope="session")
def s3(long_video: Path) -> Iterator[str]:
    """A bucket with the video in it; AWS's own variables name the server."""
    before = dict(os.environ)
    moto = ThreadedMotoServer("127.0.0.1", 0)
    moto.start()
    host, port = moto.get_host_and_port()
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://{host}:{port}", AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="secret-of-test",
        AWS_DEFAULT_REGION="us-east-1",
    )  # fmt: skip
    client = boto3.client("s3")
    client.create_bucket(Bucket="videos")
    for key in ("gate/a.mp4", "gate/b.mp4"):
        client.upload_file(str(long_video), "videos", key)
    client.put_object(Bucket="videos", Key="gate/empty.mp4", Body=b"")
    yield "s3://videos"
    moto.stop()
    os.environ.clear()
    os.environ.update(before)


def packets(path: str, start: int | None = None, end: int | None = None) -> list[tuple[int | None, str]]:
    with FileSource(path, start, end) as source:
        return [(packet.pts, blake2b(bytes(packet.data)).hexdigest()) for packet in source.packets()]


def test_http_gives_the_same_packets(server: RangeServer, long_video: Path) -> None:
    assert packets(f"{server.url}/long.mp4") == packets(str(long_video))
    # opened to look and to read, but the bytes come once
    assert server.sent <= long_video.stat().st_size + BLOCK


def test_a_shard_over_http_fetches_its_part(server: RangeServer, long_video: Path) -> None:
    shard = plan_shards(str(long_video), 200)[4]
    got = packets(f"{server.url}/long.mp4", shard.start_pts, shard.end_pts)
    assert got == packets(str(long_video), shard.start_pts, shard.end_pts)
    assert 0 < server.sent < long_video.stat().st_size / 3


def test_s3_gives_the_same_packets_and_parts(s3: str, long_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = plan_shards(str(long_video), 200)[4]
    fetched = []
    real = remote._s3_store

    def counting(url: str) -> remote.Store:
        store = real(url)

        def fetch(start: int, end: int) -> bytes:
            fetched.append(end - start)
            return store.fetch(start, end)

        return remote.Store(store.size, store.tag, fetch)

    monkeypatch.setattr(remote, "_s3_store", counting)
    url = f"{s3}/gate/a.mp4"
    assert packets(url, shard.start_pts, shard.end_pts) == packets(str(long_video), shard.start_pts, shard.end_pts)
    assert 0 < sum(fetched) < long_video.stat().st_size / 3


def test_globs(s3: str, server: RangeServer) -> None:
    assert expand(f"{s3}/gate/*.mp4") == [f"{s3}/gate/{name}.mp4" for name in ("a", "b", "empty")]
    assert expand(f"{server.url}/*.mp4") == [f"{server.url}/long.mp4"]
    assert expand(f"{s3}/nothing/*.mp4") == []


def test_fingerprints_change_with_the_bytes(s3: str, server: RangeServer, long_video: Path) -> None:
    size, tag = fingerprint(f"{server.url}/long.mp4")
    assert size == long_video.stat().st_size and tag
    client = boto3.client("s3")
    client.put_object(Bucket="videos", Key="changing", Body=b"one")
    first = fingerprint(f"{s3}/changing")
    client.put_object(Bucket="videos", Key="changing", Body=b"two")
    assert first[0] == 3 and fingerprint(f"{s3}/changing") != first
    assert fingerprint(f"{s3}/gate/a.mp4")[0] == size


@pytest.mark.parametrize("key, says", [("gate/none.mp4", "does not exist"), ("gate/empty.mp4", "is empty")])
def test_what_s3_lacks_is_said_in_one_sentence(s3: str, key: str, says: str) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        FileSource(f"{s3}/{key}")
    assert "\n" not in str(caught.value)


def test_s3_that_denies(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(tmp_path) as denying:
        denying.head = 403
        monkeypatch.setenv("AWS_ENDPOINT_URL", denying.url)
        with pytest.raises(RemoteError, match="access denied"):
            FileSource(f"{s3}/gate/a.mp4")


@pytest.mark.parametrize(
    "status, says", [(403, "access denied"), (404, "does not exist"), (401, "access denied"), (418, "HTTP 418")]
)
def test_refusals_are_not_tried_again(server: RangeServer, status: int, says: str) -> None:
    server.fault = lambda number: status
    with pytest.raises(SourceError, match=says):
        FileSource(f"{server.url}/long.mp4")
    assert server.requests <= 2


def test_secrets_are_masked(server: RangeServer) -> None:
    where = server.url.replace("://", "://user:hunter2@")
    with pytest.raises(SourceError) as caught:
        FileSource(f"{where}/none.mp4?token=abcdef")
    assert "hunter2" not in str(caught.value) and "abcdef" not in str(caught.value)


def test_passing_troubles_pass(server: RangeServer, long_video: Path) -> None:
    troubles: dict[int, int | str] = {2: 503, 3: "cut", 5: 500, 6: 429, 8: "cut"}
    server.fault = troubles.get
    assert packets(f"{server.url}/long.mp4") == packets(str(long_video))
    assert server.requests > 8


def test_a_connection_that_stays_cut_breaks_the_source(server: RangeServer) -> None:
    seen = 0
    with FileSource(f"{server.url}/long.mp4") as source, pytest.raises(SourceBroken, match="breaks off at") as caught:
        for _ in source.packets():
            seen += 1
            if seen == 500:
                server.fault = lambda number: "cut"
    assert seen >= 500 and "\n" not in str(caught.value)


def test_a_file_that_changes_while_it_is_read(long_video: Path, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(long_video.read_bytes())
    with (
        serving(tmp_path) as server,
        FileSource(f"{server.url}/v.mp4") as source,
        pytest.raises(SourceBroken, match="changed while"),
    ):
        for i, _ in enumerate(source.packets()):
            if i == 100:
                (tmp_path / "v.mp4").write_bytes(long_video.read_bytes()[::-1])


def test_a_server_without_ranges(server: RangeServer, long_video: Path) -> None:
    server.fault = lambda number: "whole"
    with pytest.raises(SourceError, match="no range requests"):
        packets(f"{server.url}/long.mp4")
    assert server.sent < long_video.stat().st_size * 3


def test_nobody_there() -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        FileSource("http://127.0.0.1:9/clip.mp4")
    with pytest.raises(UsageError, match="no way is known"):
        FileSource("gopher9://somewhere/clip.mp4")


def test_reading_and_seeking(server: RangeServer, long_video: Path) -> None:
    data = long_video.read_bytes()
    file = RemoteFile(f"{server.url}/long.mp4")
    assert file.size == len(data) and file.readable() and file.seekable()
    assert file.seek(-100, io.SEEK_END) == len(data) - 100
    assert file.read() == data[-100:] and file.read(5) == b""
    file.seek(BLOCK - 10)
    assert file.read(20) == data[BLOCK - 10 : BLOCK + 10] and file.tell() == BLOCK + 10
    buffer = bytearray(7)
    assert file.readinto(buffer) == 7 and bytes(buffer) == data[BLOCK + 10 : BLOCK + 17]


def test_a_remote_file_that_was_cut_short_is_broken(long_video: Path, tmp_path: Path) -> None:
    data = long_video.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    with serving(tmp_path) as server, pytest.raises(SourceBroken):
        packets(f"{server.url}/cut.mp4")


def test_pictures_of_a_remote_video(data_dir: Path) -> None:
    """For annotated videos and explanations, which read a source again."""
    with serving(data_dir / "moving") as server:
        frames = list(display_frames(f"{server.url}/dashcam.mp4"))
        assert len(frames) == 38
        with pytest.raises(SinkError, match="again"):
            next(display_frames(f"{server.url}/none.mp4"))


def test_what_is_remote() -> None:
    assert is_remote("s3://b/k.mp4") and is_remote("HTTPS://host/x.mp4")
    assert not any(map(is_remote, ("clip.mp4", "/a/b.mp4", "rtsp://cam/1", "file:///a.mp4")))
