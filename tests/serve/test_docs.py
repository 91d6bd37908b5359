"""Run the servers and clients of docs/serve.md unchanged."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.test_docs import blocks

pytest.importorskip("starlette")
pytest.importorskip("aiohttp")


def test_servers_and_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks("serve")
    commands = [line for block in found if block.language == "sh not-run" for line in block.text.splitlines()]
    clients = [block.text for block in found if block.language == "python not-run"]
    assert len(commands) >= 3
    for number, command in enumerate(commands):
        words = shlex.split(command)
        assert words[:2] == ["swin2sr-ops", "serve"]
        line = [sys.executable, "-m", "swin2sr_ops", *words[1:], "--port", "0", "--quiet"]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            page, zarr = (process.stdout.readline().split()[0] for _ in range(2))
            assert requests.get(page).ok
            assert requests.get(f"{zarr}/zarr.json").ok
            if number == 0:
                assert clients
                for client in clients:
                    exec(client.replace("http://127.0.0.1:8000/", page), {})
                first, second = capsys.readouterr().out.split()
                assert float(first) == float(second) > 0
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (0, 130)
