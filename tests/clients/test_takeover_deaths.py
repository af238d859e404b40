"""One process dies or hangs, at every point of a takeover. Afterwards there is one owner, or all connections have
ended."""

import itertools
import os
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from raw_takeover_channel import ACKNOWLEDGE, DATA, END, GO, Successor, close_all, end, head_and
from server import DEADLINE, LOOP, echoes, ended, read_exactly, wait_until
from takeover_case import TakeoverTest, is_served
from test_takeover import send_until_stuck

KILLED = -signal.SIGKILL
ERRORS = ("ENOBUFS", "ENOMEM", "EPIPE", "ECONNRESET")
ONE_LINE = r"\Aonloop-echo: take over from [^\n]+\n\Z"
NO_TAKEOVER = r"onloop-echo: takeover failed, still serving: [^\n]+"


class Deaths(TakeoverTest):
    def setUp(self):
        super().setUp()
        self.start()

    def start(self):
        """Starts a server with twelve clients. One client does not read what the server sends to it."""
        self.old = self.serve("--replace-stale")
        self.clients = self.connect(self.old, 12)
        self.slow = self.clients.pop()
        self.data = send_until_stuck(self.slow, 8 << 20)

    def assert_all_is_served(self):
        self.assert_served(self.clients)
        with self.old.connect() as client:  # whichever process has the address now
            echoes(client)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(self.control)
            client.sendall(b"stats\n")
            self.assertEqual(read_exactly(client, 4), b"ok {")

    def assert_the_slow_one_gets_all(self):
        self.assertTrue(read_exactly(self.slow, len(self.data)) == self.data, "every byte, in order")
        self.assert_served([self.slow])

    def assert_all_have_ended(self):
        for client in self.clients:
            self.assertTrue(ended(client))

    # ---- the successor ----

    def test_a_successor_that_goes_after_any_number_of_records(self):
        before = self.old.open_descriptors()
        for count in itertools.count():
            with Successor(self.control) as successor:
                self.assertEqual(successor.answer, "ok takeover")
                kinds = []
                while len(kinds) < count and END not in kinds:
                    kind, _, descriptors = successor.frame()
                    kinds.append(kind)
                    close_all(descriptors)
            self.old.wait_for_line(NO_TAKEOVER, count + 1)
            self.assert_all_is_served()
            if END in kinds:
                break
        self.assertGreater(count, len(self.clients), "hello, listeners, connections, data and the end")
        self.assertIn(DATA, kinds)
        self.assert_the_slow_one_gets_all()
        self.assertEqual(len(self.old.lines("onloop-echo: .*")), count + 1, "one line each")
        wait_until(lambda: self.old.open_descriptors() == before, "nothing is left of them")

    def test_a_successor_that_ends_within_its_acknowledgement(self):
        for length in range(1, len(head_and(ACKNOWLEDGE, end()))):
            with Successor(self.control) as successor:
                successor.take_all()
                successor.send(successor.acknowledgement()[:length])
            self.old.wait_for_line(NO_TAKEOVER, length)
            self.assert_all_is_served()
        self.assert_the_slow_one_gets_all()

    def test_a_successor_that_goes_with_its_acknowledgement_is_the_owner(self):
        with Successor(self.control) as successor:
            kept = []
            while (frame := successor.frame())[0] != END:
                kept += frame[2]
            successor.acknowledge()
            self.assertEqual(successor.frame()[0], GO)
        self.assert_ended(self.old)
        self.assertEqual(len(self.old.lines("onloop-echo: handed over 12 connections: stopping")), 1)
        close_all(kept)
        self.assert_all_have_ended()

    def test_a_real_successor_killed_before_each_record(self):
        for count in itertools.count():
            def kill_at(relay, frame):
                if len(relay.kinds) - 1 != count:
                    return frame
                os.kill(relay.successor, signal.SIGKILL)
                return frame[:len(frame) // 2]  # nobody gets it

            with self.relay(kill_at) as relay:
                new = self.begin(relay.path)
                self.assertEqual(new.wait(), KILLED, new.stderr())
            new.kill()
            if GO in relay.kinds:
                break
            self.old.wait_for_line(NO_TAKEOVER, count + 1)
            self.assert_all_is_served()
        # The successor had acknowledged, so it was the owner.
        self.assert_ended(self.old)
        self.assert_all_have_ended()
        self.assertGreater(count, len(self.clients))

    def test_a_real_successor_killed_at_each_system_call(self):
        traced = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, timeout=DEADLINE)
        if "Operation not permitted" in traced.stderr:
            self.skipTest(f"this system does not permit to trace a process: {traced.stderr.strip()}")
        for call in ("recvmsg", "sendmsg", "epoll_ctl"):
            killed_early = 0
            for count in range(1, 200):
                new = self.begin(self.control, prefix=("strace", "-D", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                                                       "-e", f"inject={call}:signal=SIGKILL:when={count}"))
                wait_until(lambda: self.old.process.poll() is not None or new.process.poll() is not None,
                           "one of them is gone")
                # If the successor was killed after its acknowledgement, it was the owner, and the old server ends.
                served = {is_served(client) for client in self.clients}
                self.assertEqual(len(served), 1, "either all or none")
                if served == {False} or new.process.poll() is None:
                    break
                self.assertEqual(new.wait(), KILLED, new.stderr())
                new.kill()
                killed_early += 1
            self.assert_ended(self.old)
            if served == {True}:
                # The successor may make this call once more when it ends.
                self.assertIn(new.stop(), (0, KILLED), new.stderr())
                self.assertIn("stopped", new.stderr())
            else:
                self.assertEqual(new.wait(), KILLED, new.stderr())
            if call != "epoll_ctl" or LOOP == "native":
                self.assertGreater(killed_early, 0, f"{call} was hit before the acknowledgement")
            self.start_again()

    def start_again(self):
        for client in [*self.clients, self.slow]:
            client.close()
        self.old.kill()
        self.start()

    def test_a_successor_that_hangs_is_given_up_and_is_no_owner_when_it_goes_on(self):
        def hang(relay, frame):
            if relay.kinds[-1] == END:
                os.kill(relay.successor, signal.SIGSTOP)
                self.old.wait_for_line(NO_TAKEOVER + "took too long[^\n]*")
                self.assert_all_is_served()
                os.kill(relay.successor, signal.SIGCONT)
            return frame

        start = time.monotonic()
        with self.relay(hang) as relay:
            new = self.begin(relay.path)
            self.assertEqual(new.wait(), 1)
        self.assertRegex(new.stderr(), ONE_LINE)
        self.assertGreaterEqual(time.monotonic() - start, 10)
        self.assert_the_slow_one_gets_all()
        self.assert_all_is_served()

    # ---- the old server ----

    def test_the_old_one_killed_before_each_record(self):
        for count in itertools.count():
            def kill_at(relay, frame):
                if len(relay.kinds) - 1 != count:
                    return frame
                self.old.process.kill()
                self.old.wait()
                return None

            with self.relay(kill_at) as relay:
                new = self.begin(relay.path)
                wait_until(lambda: new.process.poll() is not None or "took over" in new.stderr(), "it has an end")
            if GO in relay.kinds:
                break
            self.assertEqual(new.wait(), 1)
            self.assertRegex(new.stderr(), ONE_LINE)
            new.kill()
            self.assert_all_have_ended()
            self.start_again()
        # The successor had acknowledged, so it is the owner.
        self.assertGreater(count, len(self.clients))
        self.assert_all_is_served()
        self.assert_the_slow_one_gets_all()
        self.assertEqual(new.stop(), 0, new.stderr())

    def trace(self, pid, *arguments):
        """Attaches strace to a process. strace ends with the process."""
        messages = self.enterContext(tempfile.TemporaryFile("w+"))
        strace = subprocess.Popen(["strace", "-o", "/dev/null", *arguments, "-p", str(pid)], stdin=subprocess.DEVNULL,
                                  stderr=messages)
        self.addCleanup(strace.wait, DEADLINE)
        self.addCleanup(strace.kill)

        def attached():
            messages.seek(0)
            text = messages.read()
            if "Operation not permitted" in text:
                self.skipTest(f"this system does not permit to attach to a process: {text.strip()}")
            self.assertIsNone(strace.poll(), text)
            return "attached" in text

        wait_until(attached, "strace is attached")

    def test_the_old_one_killed_at_each_system_call(self):
        for call in ("sendmsg", "recvmsg", "close"):
            killed = 0
            for count in itertools.count(1):
                self.trace(self.old.pid, "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={count}")
                new = self.begin(self.control)
                status = self.old.wait()
                wait_until(lambda: new.process.poll() is not None or "took over" in new.stderr(), "it has an end")
                if status == KILLED:
                    killed += 1
                if new.process.poll() is None:
                    # The successor was the owner.
                    self.assert_all_is_served()
                    self.assert_the_slow_one_gets_all()
                    self.assertEqual(new.stop(), 0, new.stderr())
                else:
                    self.assertEqual((status, new.wait()), (KILLED, 1))
                    self.assertRegex(new.stderr(), ONE_LINE)
                    self.assert_all_have_ended()
                new.kill()
                self.start_again()
                if status == 0 or count == 8:
                    break
            self.assertGreater(killed, 0, f"{call} was hit")

    def test_both_killed_before_each_record(self):
        for count in itertools.count():
            def kill_at(relay, frame):
                if len(relay.kinds) - 1 != count:
                    return frame
                for pid in (self.old.pid, relay.successor):
                    os.kill(pid, signal.SIGKILL)
                self.old.wait()
                return None

            with self.relay(kill_at) as relay:
                new = self.begin(relay.path)
                self.assertEqual(new.wait(), KILLED, new.stderr())
            new.kill()
            self.assert_all_have_ended()
            if GO in relay.kinds:
                break
            self.start_again()
        self.assertGreater(count, len(self.clients))

    # ---- neither process dies, but a system call of one of them fails ----

    def assert_one_serves(self, new, what):
        """Asserts that the two processes agree on whether the takeover took place, and that the one that serves has all
        connections."""
        wait_until(lambda: new.process.poll() is not None or self.old.process.poll() is not None, "one of them ends")
        if new.process.poll() is None:
            self.assert_ended(self.old)
        else:
            self.assertEqual(new.wait(), 1, f"{what}: {new.stderr()}")
            self.old.wait_for_line(NO_TAKEOVER)
        self.assert_all_is_served()
        self.assert_the_slow_one_gets_all()
        if new.process.poll() is None:
            self.assertEqual(new.stop(), 0, new.stderr())
        new.kill()

    def test_an_error_of_each_system_call_of_the_old_one(self):
        for call, error, count in itertools.product(("sendmsg", "recvmsg"), ERRORS, ("1", "2", "3", "1..2", "2..3")):
            self.trace(self.old.pid, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={count}")
            self.assert_one_serves(self.begin(self.control), f"{error} of {call} {count}")
            self.start_again()

    def test_an_error_of_each_system_call_of_the_successor(self):
        # The successor sends one message. What it sends after this message goes to a client.
        for call, counts in (("sendmsg", ("1",)), ("recvmsg", ("1", "2", "3", "1..2", "2..3", "4..5"))):
            for error, count in itertools.product(ERRORS, counts):
                new = self.begin(self.control, prefix=("strace", "-D", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                                                       "-e", f"inject={call}:error={error}:when={count}"))
                self.assert_one_serves(new, f"{error} of {call} {count}")
                self.start_again()


if __name__ == "__main__":
    unittest.main()
