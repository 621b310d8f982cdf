# SPDX-License-Identifier: Apache-2.0
"""What kubelet asks of a container runtime: a client of the CRI (runtime.v1), enough for a pod."""

from __future__ import annotations

from pathlib import Path

import rpc
from protobuf import Fields, Message
from workspace import wait_until

# The network of the machine itself, so that no plug-in is needed for it (NODE).
# Processes as kubelet wants them: a namespace for each container.
_NAMESPACES = {1: 2, 2: 1}
# ContainerState
EXITED = 2


class CRI:
    """The services of one containerd."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def _call(self, service: str, method: str, request: Message) -> Fields:
        return rpc.call(self._socket, f"runtime.v1.{service}/{method}", request)

    def pull(self, image: str) -> str:
        """Pulls an image; what the runtime calls it."""
        return self._call("ImageService", "PullImage", {1: {1: image}}).text(1)

    def images(self) -> dict[str, list[str]]:
        """The tags of all images, by their ids."""
        answer = self._call("ImageService", "ListImages", {})
        return {image.text(1): image.texts(2) for image in answer.messages(1)}

    def remove_image(self, image: str) -> None:
        """Removes an image with all its tags."""
        self._call("ImageService", "RemoveImage", {1: {1: image}})

    def image_filesystems(self) -> list[str]:
        """The mount points of the file systems that hold images."""
        answer = self._call("ImageService", "ImageFsInfo", {})
        return [filesystem.message(2).text(1) for filesystem in answer.messages(1)]

    def pod(self, name: str, logs: Path) -> Pod:
        """Starts a pod on the machine's own network.

        `logs` is an existing directory, to which the containers' output goes.
        """
        return Pod(self, name, logs)


class Pod:
    """A pod sandbox, as a context: removed with its containers at the end."""

    def __init__(self, cri: CRI, name: str, logs: Path) -> None:
        self._cri = cri
        self._logs = logs
        self._configuration = {
            1: {1: name, 2: f"uid-{name}", 3: "default"},
            3: str(logs),
            8: {2: {1: _NAMESPACES}},
        }
        self.id = cri._call(
            "RuntimeService", "RunPodSandbox", {1: self._configuration}
        ).text(1)

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, *_: object) -> None:
        for method in ("StopPodSandbox", "RemovePodSandbox"):
            self._cri._call("RuntimeService", method, {1: self.id})

    def start(self, name: str, image: str, *command: str) -> Container:
        """Creates a container from an image that was pulled, and starts it."""
        container = {
            1: {1: name},
            2: {1: image},
            3: list(command),
            11: f"{name}.log",
        }
        identifier = self._cri._call(
            "RuntimeService", "CreateContainer", {1: self.id, 2: container, 3: self._configuration}
        ).text(1)
        self._cri._call("RuntimeService", "StartContainer", {1: identifier})
        return Container(self._cri, identifier, self._logs / f"{name}.log")


class Container:
    """A container that was started."""

    def __init__(self, cri: CRI, identifier: str, log: Path) -> None:
        self._cri = cri
        self.id = identifier
        self._log = log

    def _status(self) -> Fields:
        return self._cri._call("RuntimeService", "ContainerStatus", {1: self.id}).message(1)

    def wait(self) -> int:
        """Waits for its end; the exit code."""
        wait_until(lambda: self._status().number(3) == EXITED, f"the end of {self._log.name}")
        return self._status().number(7)

    def run(self, *command: str) -> int:
        """Runs a command in it; the exit code."""
        answer = self._cri._call(
            "RuntimeService", "ExecSync", {1: self.id, 2: list(command), 3: 60}
        )
        return answer.number(3)

    def output(self) -> str:
        """What it has printed; the lines of the log without time, stream and tag."""
        lines = self._log.read_text().splitlines()
        return "".join(line.split(" ", 3)[3] + "\n" for line in lines)
