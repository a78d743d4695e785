"""Mistakes at the start of a job of several processes: one error each, and soon."""

import time

import pytest
from conftest import free_port

from zv_jax.errors import ConfigError, SetupError
from zv_jax.parallel import distributed


def test_one_process_alone_needs_nothing():
    distributed.start()
    distributed.check_same({"seed": 0}, "runs/x")


@pytest.mark.parametrize(
    "given, words",
    [
        ({"processes": 2, "process": 0}, "missing: --coordinator"),
        ({"coordinator": "h:1"}, "missing: --num_processes, --process_id"),
        ({"coordinator": "h", "processes": 2, "process": 0}, "coordinator 'h'"),
        ({"coordinator": "h:1", "processes": 2, "process": 2}, "process 2 of 2"),
    ],
)
def test_incomplete_or_wrong_numbers(given, words):
    with pytest.raises(ConfigError, match=words) as caught:
        distributed.start(**given)
    assert "--coordinator=" in caught.value.fix


def test_a_coordinator_that_is_not_there():
    began = time.monotonic()
    with pytest.raises(SetupError, match="no coordinator answers") as caught:
        distributed.start(f"127.0.0.1:{free_port()}", 2, 1, patience=0.5)
    assert time.monotonic() - began < 30 and "127.0.0.1" in caught.value.where


def test_a_job_of_which_a_process_is_missing(fresh_python):
    """In a process of its own, which it ends."""
    done = fresh_python(
        "-c",
        "from zv_jax.parallel import distributed\n"
        f"distributed.start('127.0.0.1:{free_port()}', 2, 0, patience=2)\n",
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("zv: the processes of this job did not come together")


def test_the_coordinator_listens_only_where_it_is_told(fresh_python):
    """It knows no passwords, so that an interface it was not told of is an open door."""
    port = free_port()
    done = fresh_python(
        "-c",
        "from zv_jax.parallel import distributed\n"
        f"distributed.start('127.0.0.1:{port}', 1, 0)\n"
        "for name in ('tcp', 'tcp6'):\n"
        "    for line in open(f'/proc/net/{name}').readlines()[1:]:\n"
        "        _, local, _, state, *_ = line.split()\n"
        f"        if state == '0A' and int(local.split(':')[1], 16) == {port}:\n"
        "            print(local.split(':')[0])\n",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    loopback = "0100007F"  # 127.0.0.1 as the kernel writes it, alone or within IPv6
    listening = done.stdout.split()
    assert listening and all(address.endswith(loopback) for address in listening)
