"""Drawn videos in a real Chromium: they play, as long as the source, and something is seen."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jobs.media.drawing.palette import class_color
from jobs.render import RenderConfig, run
from tests.jobs.media.mp4.clips import HEIGHT, QUARTER_TURN, WIDTH, seen, write_clip
from tests.jobs.rendering.runs import RunOfATest

PAGE = "<video id=v muted preload=auto src='{}'></video>"
PLAY = """async (at_s) => {
    const video = document.getElementById("v");
    const until = (name) => new Promise((done, failed) => {
        video.addEventListener(name, done, {once: true});
        video.addEventListener("error", () => failed(video.error.message), {once: true});
    });
    if (video.readyState < 2) await until("loadeddata");
    const sought = until("seeked");
    video.currentTime = at_s;
    await sought;
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const played = until("ended");
    await video.play();
    await played;
    return {duration: video.duration, width: video.videoWidth, height: video.videoHeight,
            frame: canvas.toDataURL("image/png")};
}"""


def play(browser: Any, path: Path, at_s: float) -> dict[str, Any]:
    """Play a video to its end; gives its length, and its frame at a time."""
    html = path.with_suffix(".html")
    html.write_text(PAGE.format(path.name))
    page = browser.new_page()
    # A canvas may be read only if the video is from the page's own place: serve both.
    page.route("**/*", lambda route: route.fulfill(path=path.parent / Path(route.request.url).name))
    page.goto(f"http://video.test/{html.name}")
    found = page.evaluate(PLAY, at_s)
    page.close()
    data = base64.b64decode(found.pop("frame").partition(",")[2])
    found["pixels"] = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return found


@pytest.mark.parametrize("kind", ["plain", "turned", "uneven"])
def test_a_drawn_video_plays_to_its_end(browser: Any, tmp_path: Path, kind: str):
    settings: dict[str, Any] = {
        "plain": {"sound": "aac", "size": (320, 240)},
        "turned": {"matrix": QUARTER_TURN},
        "uneven": {"times": (0, 10, 400, 401, 800, 1160), "options": {"bf": "0"}},
    }[kind]
    source = write_clip(tmp_path / "in" / "clip.mp4", **settings)
    width, height = (HEIGHT, WIDTH) if kind == "turned" else settings.get("size", (WIDTH, HEIGHT))
    box = (0.1 * width, 0.4 * height, 0.9 * width, 0.9 * height)
    drawn = RunOfATest()
    drawn.video(source, [(1, 0.9, box)])
    out = tmp_path / "out"
    run(RenderConfig(run=drawn.write(tmp_path / "RUN").uri, out=str(out), num_actors=1))

    found = play(browser, out / "clip.mp4", 0.5)

    assert found["duration"] == pytest.approx(seen(source).duration_s, abs=0.1)
    assert (found["width"], found["height"]) == (width, height)
    cv2.imwrite(str(out / "frame.png"), found["pixels"][:, :, ::-1])
    assert found["pixels"].mean() > 30, "not black"
    distance = np.abs(found["pixels"].astype(int) - np.array(class_color(1))).max(axis=2)
    y, x = np.nonzero(distance < 70)
    assert len(y) > 20, "the box is seen"
    assert x.min() == pytest.approx(box[0], abs=4)
    assert y.max() == pytest.approx(box[3], abs=4)


def test_a_real_video_plays_with_its_boxes(browser: Any, shared_data: Path, tmp_path: Path):
    source = shared_data / "video" / "nasa_13013_rotated.mp4"
    drawn = RunOfATest()
    drawn.video(source, [(1, 0.9, (30, 50, 200, 400))])
    out = tmp_path / "out"
    run(RenderConfig(run=drawn.write(tmp_path / "RUN").uri, out=str(out), num_actors=1))

    found = play(browser, out / "nasa_13013_rotated.mp4", 0.3)

    cv2.imwrite(str(out / "frame.png"), found["pixels"][:, :, ::-1])
    assert found["duration"] == pytest.approx(0.567, abs=0.05)
    assert (found["width"], found["height"]) == (270, 480)
    assert found["pixels"].max() > 200
