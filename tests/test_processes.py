"""Real processes: some that are killed, and what they leave."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from hfhooks.private import state_folder
from hfhooks.processes import note
from tests.harness import wait_until

OWNER = """
import os, subprocess, sys
from hfhooks.processes import note, noted
given = {"start_new_session": True, "stdin": subprocess.PIPE, "env": {"MARK": "the mark of it"}}
process = subprocess.Popen(["/bin/sh", "-c", sys.argv[1]], **given)
%s
print(process.pid, flush=True)
sys.stdin.read()
"""
NOTED = 'note(process.pid, "the mark of it")'
GUARDED = "guarding = noted(process.pid)\nguarding.__enter__()"
DEAF = 'trap "" TERM INT HUP; sleep 1000 & exec sleep 1001'
NEXT = "from hfhooks.processes import end_left; end_left()"


class Left:
    """A group of processes whose owner can be killed."""

    def __init__(self, script: str = DEAF, noted: str = NOTED, number: int = 2) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", OWNER % noted, script]
        self.owner = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.owner.stdout
        self.pid = int(self.owner.stdout.readline())
        wait_until(lambda: len(self.members) == number)
        self.processes = self.members

    @property
    def members(self) -> list[psutil.Process]:
        """What runs of it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getpgid(process.pid) == self.pid and runs(process):
                    found.append(process)
        return found

    def kill_owner(self) -> None:
        self.owner.kill()
        self.owner.wait()

    def close(self) -> None:
        self.kill_owner()
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for stream in (self.owner.stdin, self.owner.stdout):
            assert stream
            stream.close()


def runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture
def leave() -> Iterator[Callable[..., Left]]:
    made: list[Left] = []

    def leave(*given: Any, **named: Any) -> Left:
        made.append(Left(*given, **named))
        return made[-1]

    yield leave
    for each in made:
        each.close()


def notes() -> list[Path]:
    return [*(state_folder() / "processes").glob("*")]


def rewrite(**changes: Any) -> None:
    """Change what is noted."""
    [file] = notes()
    row = json.loads(file.read_text())
    for name, value in changes.items():
        row[name] = {**row[name], **value} if isinstance(value, dict) else value
    file.write_text(json.dumps(row))


def start_again(code: str = NEXT, **given: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **given)


def test_what_one_that_was_killed_has_left_is_gone_when_the_next_begins(leave: Any) -> None:
    left = leave()
    left.kill_owner()
    assert len(left.members) == 2
    assert start_again().returncode == 0
    assert left.members == [] and notes() == []


def test_the_owner_is_gone_also_where_nobody_has_heard_of_its_end(leave: Any) -> None:
    left = leave()
    left.owner.kill()
    wait_until(lambda: not runs(psutil.Process(left.owner.pid)))
    start_again()
    assert left.members == []


def test_what_is_stopped_is_ended_too(leave: Any) -> None:
    left = leave()
    os.killpg(left.pid, signal.SIGSTOP)
    left.kill_owner()
    start_again()
    assert left.members == []


def test_what_belongs_to_one_that_lives_goes_on(leave: Any) -> None:
    left, other = leave(), leave()
    other.kill_owner()
    start_again()
    assert len(left.members) == 2 and other.members == []
    assert len(notes()) == 1


def test_what_has_lost_its_leader_is_known_by_its_mark(leave: Any) -> None:
    left = leave()
    left.kill_owner()
    os.kill(left.pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(left.pid))
    assert len(left.members) == 1
    start_again()
    assert left.members == []


LATER = {"began": "another time"}


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [
        ({"process": LATER, "mark": ""}, False),
        ({"process": LATER, "mark": "another mark"}, False),
        ({"boot": "another boot"}, False),
        ({"namespace": "another container"}, True),
    ],
)
def test_another_process_that_has_its_number_is_left_alone(
    leave: Any, changes: dict[str, Any], is_kept: bool
) -> None:
    left = leave()
    rewrite(**changes)
    left.kill_owner()
    start_again()
    assert len(left.members) == 2 and bool(notes()) is is_kept


def test_another_process_that_has_the_number_of_the_owner_is_not_the_owner(leave: Any) -> None:
    left = leave()
    rewrite(owner=LATER)
    start_again()
    assert left.members == []


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"boot": 1, "owner": {}, "process": {}}', "[" * 100_000]
)
def test_a_note_that_makes_no_sense_is_removed(leave: Any, content: str) -> None:
    left = leave()
    [file] = notes()
    file.write_text(content)
    left.kill_owner()
    assert start_again().returncode == 0
    assert len(left.members) == 2 and notes() == []


def test_what_others_may_have_noted_counts_for_nothing(leave: Any) -> None:
    left = leave()
    left.kill_owner()
    (state_folder() / "processes").chmod(0o777)
    assert start_again().returncode == 0
    assert len(left.members) == 2


def test_who_belongs_to_it_does_not_end_itself(leave: Any, tmp_path: Path) -> None:
    told = tmp_path / "told"
    # A pipe of its own, because what runs in the background has no stdin.
    code = f"read _ <&3; {sys.executable} -c '{NEXT}'; echo $? > {told}; exec sleep 1001"
    left = leave(f"({code}) 3<&0 & exec sleep 1000")
    left.kill_owner()
    wait_until(lambda: told.exists() and told.read_text() == "0\n")


def test_what_has_begun_a_session_of_its_own_does_not_belong_to_it(leave: Any) -> None:
    left = leave("setsid sleep 1002 & exec sleep 1001", number=1)
    [own] = wait_until(
        lambda: [child for child in psutil.Process(left.pid).children() if child.name() == "sleep"]
    )
    left.processes.append(own)
    left.kill_owner()
    start_again()
    assert left.members == [] and runs(own)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_what_does_not_end_is_said_and_nothing_begins_beside_it(leave: Any) -> None:
    left = leave()
    left.kill_owner()
    [file] = notes()
    with TemporaryDirectory() as home:
        folder = Path(home, "hfhooks/processes")
        folder.mkdir(mode=0o700, parents=True)
        (copy := folder / file.name).write_text(file.read_text())
        for each in (copy, folder, folder.parent, home):
            os.chown(each, 65534, 65534)
        code = "import os\nfrom hfhooks import processes\nos.setuid(65534)\n"
        code += "processes.GONE_WITHIN = 0\nprocesses.end_left()"
        said = start_again(code, env=os.environ | {"XDG_STATE_HOME": home}).stderr
        assert copy.exists()
    assert f"what a server that was killed has left does not end: process {left.pid}, " in said


def test_what_is_guarded_is_asked_to_leave_when_its_owner_is_killed(leave: Any) -> None:
    left = leave("sleep 1000 & exec sleep 1001", GUARDED)
    left.kill_owner()
    wait_until(lambda: left.members == [])


def test_what_is_guarded_and_has_ended_is_forgotten(leave: Any) -> None:
    code = GUARDED + "\nprocess.kill()\nprocess.wait()\nguarding.__exit__(None, None, None)"
    left = leave("exec sleep 1000", code, number=0)
    assert notes() == []
    assert [child.name() for child in psutil.Process(left.owner.pid).children()] == []


@pytest.mark.parametrize(
    ("trap", "code"), [("", -signal.SIGTERM), ("trap '' TERM;", -signal.SIGKILL)]
)
def test_what_is_our_own_is_asked_to_leave_and_then_killed(trap: str, code: int) -> None:
    text = f"""
import subprocess
from hfhooks.processes import end_own, note
command = ["/bin/sh", "-c", "{trap} echo; exec sleep 1000"]
process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
process.stdout.readline()
note(process.pid)
end_own()
print(process.wait(10))
"""
    assert start_again(text).stdout == f"{code}\n"
    assert notes() == []


def test_what_is_noted_in_another_container_is_not_our_own() -> None:
    text = """
import subprocess
from hfhooks.processes import end_own, note
process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
file = note(process.pid)
file.write_text(file.read_text().replace("pid:[", "another:["))
end_own()
print(process.poll())
process.kill()
"""
    assert start_again(text).stdout == "None\n"
    assert len(notes()) == 1


def test_where_nothing_can_be_noted_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    assert note(os.getpid()) is None
