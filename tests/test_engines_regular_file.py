"""Only regular files are opened, whatever a path leads to."""

import os
import threading

import pytest

from engines.regular_file import SpecialFile, open_regular


def test_a_file_is_opened_also_through_a_link(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/tty", "/dev/stdin"])
def test_a_link_to_a_device_is_refused(tmp_path, target):
    (tmp_path / "link").symlink_to(target)

    with pytest.raises(OSError, match=r"never opened|No such") as refusal:
        open_regular(tmp_path / "link")
    assert not isinstance(refusal.value, SpecialFile) or refusal.value.filename == str(tmp_path / "link")


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(SpecialFile, match="a pipe"):
        open_regular(tmp_path / "pipe")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_a_pipe_that_takes_the_place_of_a_file_hangs_nobody(tmp_path):
    path, pipe = tmp_path / "file", tmp_path / "pipe"
    os.mkfifo(pipe)
    done = threading.Event()

    def exchange():
        while not done.is_set():
            for place in (lambda: path.symlink_to(pipe), lambda: path.write_bytes(b"")):
                path.unlink(missing_ok=True)
                place()

    thread = threading.Thread(target=exchange)
    thread.start()
    refused = 0
    try:
        for _ in range(3000):
            try:
                open_regular(path).close()
            except OSError:
                refused += 1
    finally:
        done.set()
        thread.join(10)
    assert refused
