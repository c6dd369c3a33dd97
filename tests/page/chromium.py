"""Chromium over the two pipes of ``--remote-debugging-pipe``.

The DevTools protocol without a websocket, so without a dependency.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--no-proxy-server", "--disable-background-networking"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no internet, wherever it runs
    "--remote-debugging-pipe",
)


class Chromium:
    """One browser, and the tab that a test looks at."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._unread, self._said = b"", 0
        self._session = ""
        self.complaints: list[str] = []

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; what happens meanwhile is noted."""
        self._said += 1
        told: dict[str, Any] = {"id": self._said, "method": method, "params": parameters}
        if self._session:
            told["sessionId"] = self._session
        os.write(self._to, json.dumps(told).encode() + b"\0")
        while (heard := self._hear()).get("id") != self._said:
            self._note(heard)
        assert "error" not in heard, (method, heard["error"])
        result: dict[str, Any] = heard["result"]
        return result

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> None:
        """A new tab; the one before is closed."""
        self._session = ""
        for old in self.do("Target.getTargets")["targetInfos"]:
            if old["type"] == "page" and old["url"] != "about:blank":
                self.do("Target.closeTarget", targetId=old["targetId"])
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.complaints.clear()
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.do(f"{domain}.enable")
        self.resize(width, height)
        self.do("Page.navigate", url=url)
        self.wait("location.protocol === 'http:' && document.readyState === 'complete'")

    def resize(self, width: int, height: int) -> None:
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.do("Emulation.setDeviceMetricsOverride", **screen)

    def js(self, expression: str) -> Any:
        said = self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until the expression is true; the test's own timeout bounds it."""
        while not self.js(f"Boolean({expression})"):
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        return str(self.js(f"document.querySelector({json.dumps(selector)}).innerText"))

    def texts(self, selector: str) -> list[str]:
        every = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return list(self.js(f"{every}.map((one) => one.innerText)"))

    def fill(self, selector: str, text: str) -> None:
        """As somebody who selects what is there and types."""
        self.js(f"document.querySelector({json.dumps(selector)}).select()")
        self.do("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        field = f"document.querySelector({json.dumps(selector)})"
        self.js(f"{field}.value = {json.dumps(value)}")
        self.js(f"{field}.dispatchEvent(new Event('change'))")

    def middle_of(self, selector: str) -> tuple[float, float]:
        field = f"document.querySelector({json.dumps(selector)})"
        self.js(f"{field}.scrollIntoView({{block: 'center'}})")
        box = self.js(f"{field}.getBoundingClientRect().toJSON()")
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def click(self, selector: str) -> None:
        self.drag(self.middle_of(selector))

    def drag(self, *points: tuple[float, float]) -> None:
        """Down at the first point, up at the last."""
        for kind, (x, y) in (
            ("mousePressed", points[0]),
            *(("mouseMoved", point) for point in points[1:]),
            ("mouseReleased", points[-1]),
        ):
            self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def swipe(self, *points: tuple[float, float]) -> None:
        """The same with a finger."""
        self.do("Emulation.setTouchEmulationEnabled", enabled=True)
        for kind, at in (
            ("touchStart", points[:1]),
            *(("touchMove", (point,)) for point in points[1:]),
            ("touchEnd", ()),
        ):
            touched = [{"x": x, "y": y} for x, y in at]
            self.do("Input.dispatchTouchEvent", type=kind, touchPoints=touched)

    def drop(self, file: Path, selector: str) -> None:
        x, y = self.middle_of(selector)
        carried = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.do("Input.dispatchDragEvent", type=kind, x=x, y=y, data=carried)

    def choose_file(self, file: Path, selector: str) -> None:
        root = self.do("DOM.getDocument")["root"]["nodeId"]
        node = self.do("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.do("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def picture(self) -> bytes:
        return base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"])

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            more = os.read(self._from, 1 << 20)
            assert more, "chromium has gone"
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        heard: dict[str, Any] = json.loads(message)
        return heard

    def _note(self, event: dict[str, Any]) -> None:
        match event:
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.complaints.append(str(details))
            case {"method": "Log.entryAdded", "params": {"entry": entry}}:
                if entry["source"] != "network":  # a refusal that a test asked for
                    self.complaints.append(f"{entry['source']}: {entry['text']}")


@contextmanager
def running_chromium(folder: Path) -> Iterator[Chromium]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"this machine has no browser: none of {', '.join(NAMES)} is on the PATH")
    (theirs_in, to_browser), (from_browser, theirs_out) = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [
            *("bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash"),
            *(program, *FLAGS, f"--user-data-dir={folder}"),
        ],
        stderr=subprocess.DEVNULL,
        pass_fds=(theirs_in, theirs_out),
    )
    os.close(theirs_in)
    os.close(theirs_out)
    browser = Chromium(to_browser, from_browser)
    try:
        yield browser
    finally:
        os.close(to_browser)  # it goes then; of Browser.close the answer may be lost as it goes
        process.wait(60)
        os.close(from_browser)
