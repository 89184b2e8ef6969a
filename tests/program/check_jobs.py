#!/usr/bin/env python3
"""check_jobs.py: how jobs end that are disturbed: killed ranks, signals, closed pipes, bad launchers, bad files.

Whatever happens, a job ends in time, says why in one line, and leaves nothing behind: no process (each carries a mark
in its environment) and no shared memory (a new file in /dev/shm that no living process has mapped).
"""
import os
import pathlib
import re
import shutil
import signal
import time
import unittest
import uuid

import support
import support
from support import ORACLE, SHAKESPEARE, Case, TempFolder, main, needs_ranks, run, start

LLAMA = ORACLE / "llama_gqa"
SHM = pathlib.Path("/dev/shm")
END_SECONDS = 10
MARK = "TSR_TEST_MARK"
# Would go on for minutes; streams text.
LONG = ("generate", "--model", SHAKESPEARE, "--prompt", "KING RICHARD:", "--ignore-eos", "--temperature", 1, "--context",
        100000, "--max-new-tokens", 99000, "--max-sequences", 1)


def read_file(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def processes(mark):
    """{process id: its environment} of the processes that carry the mark."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        text = read_file(folder / "environ")
        if f"{MARK}={mark}".encode() in text:
            found[int(folder.name)] = dict(item.split(b"=", 1) for item in text.split(b"\0") if b"=" in item)
    return found


def ranks_of(mark):
    """{rank: process id} of the program's processes."""
    program = pathlib.Path(support.PROGRAM)
    found = {}
    for pid, environment in processes(mark).items():
        try:
            same = pathlib.Path(f"/proc/{pid}/exe").samefile(program)
        except OSError:
            same = False
        if same:
            found[int(environment.get(b"OMPI_COMM_WORLD_RANK", 0))] = pid
    return found


def mapped_in_shm():
    maps = b"".join(read_file(path) for path in pathlib.Path("/proc").glob("[0-9]*/maps"))
    return {name.decode() for name in re.findall(rb"/dev/shm/(\S+)", maps)}


class Job(Case):
    """A test whose jobs are watched for what they leave."""

    def setUp(self):
        self.mark = uuid.uuid4().hex
        self.shared = set(os.listdir(SHM)) if SHM.is_dir() else set()

    def tearDown(self):
        deadline = time.monotonic() + 5
        while (left := self.left_over()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(left, [], "the job left processes or shared memory")

    def left_over(self):
        files = set(os.listdir(SHM)) - self.shared if SHM.is_dir() else set()
        files = {name for name in files if not name.startswith("tessera-test-")}  # folders of unit tests beside us
        return list(processes(self.mark)) + sorted(files - mapped_in_shm() if files else [])

    def begin(self, *args, ranks=0, **how):
        """A job that has begun to print its text."""
        job = start(*args, ranks=ranks, env={MARK: self.mark}, **how)
        self.addCleanup(self.close, job)
        head = os.read(job.stdout.fileno(), 1 << 16)
        self.assertGreater(len(head), 0, job.stderr.read() if not head else "")
        return job, head

    def close(self, job):
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
        job.stdout.close()
        job.stderr.close()

    def end(self, job):
        """(exit code, rest of stdout, stderr, seconds) of a job that must end by itself soon."""
        began = time.monotonic()
        out, err = job.communicate(timeout=END_SECONDS * support.SLOWNESS)
        seconds = time.monotonic() - began
        self.assertLess(seconds, END_SECONDS * support.SLOWNESS)
        return job.returncode, out, err.decode(errors="replace"), seconds


@needs_ranks
class Killed(Job):
    def kill(self, rank, number):
        job, _ = self.begin(*LONG, "--quiet", ranks=3)
        ranks = ranks_of(self.mark)
        self.assertEqual(sorted(ranks), [0, 1, 2])
        os.kill(ranks[rank], number)
        code, _, err, _ = self.end(job)
        self.assertNotEqual(code, 0)
        self.assertRegex(err, rf"rank {rank} \(pid {ranks[rank]}\) is gone|rank {rank} .*exited on signal {number:d}")

    def test_rank_0(self):
        self.kill(0, signal.SIGKILL)

    def test_rank_1(self):
        self.kill(1, signal.SIGKILL)

    def test_rank_2(self):
        self.kill(2, signal.SIGKILL)

    def test_crash(self):
        self.kill(1, signal.SIGSEGV)

    def test_stopped_rank_passes_the_deadline(self):
        job, _ = self.begin(*LONG, "--quiet", "--deadline", 2, ranks=2)
        pid = ranks_of(self.mark)[1]
        os.kill(pid, signal.SIGSTOP)
        try:
            code, _, err, _ = self.end(job)
        finally:
            if pid in processes(self.mark):
                os.kill(pid, signal.SIGKILL)
        self.assertNotEqual(code, 0)
        self.assertRegex(err, r"rank 0 of 2 .* passed its deadline of 2 s; not arrived: rank 1")


class Signals(Job):
    def stop(self, number, code, ranks=0, whom="rank 0"):
        """Ends cleanly: what was made is printed to the end of a line, the code tells the signal."""
        job, head = self.begin(*LONG, "--quiet", ranks=ranks)
        os.kill(job.pid if whom == "launcher" or not ranks else ranks_of(self.mark)[0], number)
        found, out, err, _ = self.end(job)
        if whom == "launcher":
            self.assertNotEqual(found, 0)
            return
        self.assertEqual(found, code, err)
        self.assertTrue((head + out).endswith(b"\n"))
        self.assertEqual([line for line in err.splitlines() if line.startswith("tessera")],
                         ["tessera: error: stopped by a signal; what had been made was printed"])

    def test_terminated(self):
        self.stop(signal.SIGTERM, 143)

    def test_interrupted(self):
        self.stop(signal.SIGINT, 130)

    @needs_ranks
    def test_terminated_among_three(self):
        self.stop(signal.SIGTERM, 143, ranks=3)

    @needs_ranks
    def test_interrupted_among_three(self):
        self.stop(signal.SIGINT, 130, ranks=3)

    @needs_ranks
    def test_launcher_terminated(self):
        self.stop(signal.SIGTERM, 143, ranks=3, whom="launcher")

    @needs_ranks
    def test_launcher_interrupted(self):
        self.stop(signal.SIGINT, 130, ranks=3, whom="launcher")

    @needs_ranks
    def test_followers_do_not_mind(self):
        """srun sends the signal to every rank: rank 0 alone heeds it."""
        job, head = self.begin(*LONG, "--quiet", ranks=3)
        ranks = ranks_of(self.mark)
        for rank in (1, 2):
            os.kill(ranks[rank], signal.SIGTERM)
        time.sleep(0.5)
        self.assertIsNone(job.poll(), "a follower ended the job")
        os.kill(ranks[0], signal.SIGTERM)
        self.assertEqual(self.end(job)[0], 143)

    def test_json_of_what_was_made(self):
        job = start(*LONG, "--quiet", "--json", env={MARK: self.mark})
        self.addCleanup(self.close, job)
        time.sleep(1)
        os.kill(job.pid, signal.SIGTERM)
        code, out, _, _ = self.end(job)
        self.assertEqual(code, 143)
        result = support.Result(code, out, b"", 0, 0).lines()[0]
        self.assertEqual(result["finish_reason"], "cancelled")
        self.assertGreater(len(result["ids"]), 0)
        self.assertEqual(len(result["ids"]), len(result["logprobs"]))


class Pipes(Job):
    def test_closed_pipe(self):
        job, _ = self.begin(*LONG, "--quiet")
        job.stdout.close()
        job.stdout = None
        code, _, err, _ = self.end_without_stdout(job)
        self.assertEqual(code, 3)
        self.assertRegex(err, r"^tessera: error: standard output cannot be written: Broken pipe\n$")

    def end_without_stdout(self, job):
        job.stdout = open(os.devnull, "rb")
        return self.end(job)

    def test_full_device(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        for args in (("generate", "--model", LLAMA, "--ids", "1", "--max-new-tokens", 2, "--quiet"),
                     ("generate", "--model", LLAMA, "--ids", "1", "--max-new-tokens", 2, "--quiet", "--json"),
                     ("plan", "--model", LLAMA), ("--help",), ("score", "--model", LLAMA, "--ids", "1,2", "--quiet")):
            with open("/dev/full", "wb") as full:
                job = start(*args, stdout=full)
                _, err = job.communicate(timeout=END_SECONDS)
            self.assertEqual(job.returncode, 3, args)
            self.assertRegex(err.decode(), r"^tessera: error: standard output cannot be written.*\n$")


class Launchers(Job):
    ARGS = ("generate", "--model", LLAMA, "--ids", "1,2", "--max-new-tokens", 2, "--quiet")

    def test_plain_srun_is_refused(self):
        step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2",
                "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
        for rank in ("0", "1"):
            self.refused(run(*self.ARGS, env=dict(step, SLURM_PROCID=rank)), 2, r"2 tasks.*srun --mpi=pmix")
        self.refused(run(*self.ARGS, env=dict(step, SLURM_PROCID="0", PMI_SIZE="2", PMI_RANK="0")), 2,
                     r"2 tasks.*srun --mpi=pmix")

    def test_a_shell_in_an_allocation_is_fine(self):
        shell = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
        self.good(*self.ARGS, env=shell)
        self.good(*self.ARGS, env=dict(shell, SLURM_STEP_NUM_TASKS="1"))

    @needs_ranks
    def test_mpirun_in_an_allocation_is_fine(self):
        self.good(*self.ARGS, env={"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, ranks=2)

    def test_mpirun_of_another_mpi_is_refused(self):
        self.refused(run(*self.ARGS, env={"PMI_SIZE": "2", "PMI_RANK": "0"}), 2, r"another MPI.*2 processes")


@needs_ranks
class Failures(Job):
    """A failure of three ranks is one failure."""

    def one_error(self, result, code, pattern):
        self.assertEqual(result.code, code, str(result))
        self.assertEqual(len(result.errors()), 1, str(result))
        self.assertRegex(result.errors()[0], pattern)
        self.assertEqual(result.out, b"")

    def three(self, *args):
        return run(*args, "--quiet", ranks=3, env={MARK: self.mark}, timeout=END_SECONDS)

    def test_damaged_weights(self):
        model = TempFolder(type(self)).copy(LLAMA, "damaged")
        data = (model / "model.safetensors").read_bytes()
        (model / "model.safetensors").write_bytes(data[:len(data) // 2])
        self.one_error(self.three("generate", "--model", model, "--ids", "1"), 3, r"model\.safetensors")

    def test_no_model(self):
        self.one_error(self.three("generate", "--model", "/nowhere", "--ids", "1"), 3, r"/nowhere: there is no such")
        self.one_error(self.three("plan", "--model", "/nowhere"), 3, r"/nowhere")
        self.one_error(self.three("tokenize", "--model", "/nowhere", "--text", "x"), 3, r"/nowhere")

    def test_usage(self):
        self.one_error(self.three("generate", "--modle", "x"), 2, r"did you mean --model\?")
        self.one_error(self.three("generate", "--model", LLAMA), 2, r"nothing to continue")

    def test_request(self):
        self.one_error(self.three("generate", "--model", LLAMA, "--ids", "131", "--max-new-tokens", 1), 2, r"vocabulary")
        self.one_error(self.three("score", "--model", LLAMA, "--ids", "131"), 2, r"vocabulary")
        self.one_error(self.three("bench", "--model", LLAMA, "--prompt-tokens", 1000), 2, r"context is 96")

    def test_damage_that_one_rank_alone_sees(self):
        folder = TempFolder(type(self))
        bad = folder.copy(LLAMA, "bad")
        (bad / "model.safetensors").write_bytes(b"")
        tail = ["--ids", "1", "--max-new-tokens", "2", "--quiet"]
        program = [support.PROGRAM, "generate", "--model"]
        line = [support.MPIRUN, "-n", "1", *program, LLAMA, *tail, ":", "-n", "1", *program, bad, *tail]
        before, support.command = support.command, lambda *args, ranks=0: list(map(str, line))
        try:
            result = run(timeout=END_SECONDS, env={MARK: self.mark}, ranks=2)
        finally:
            support.command = before
        self.one_error(result, 3, r"rank 1: .*model\.safetensors")


if __name__ == "__main__":
    main()
