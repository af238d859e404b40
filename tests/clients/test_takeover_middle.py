"""Events in the middle of a takeover: clients, signals, commands, another successor."""

import json
import os
import pathlib
import signal
import socket
import threading
import unittest

from raw_takeover_channel import CONNECTION, END, GO
from server import DEADLINE, ctl, echoes, ended, listens, read_exactly, wait_until
from takeover_case import TakeoverTest, pass_signal


def at(kind, action):
    """A hook for a Relay. It calls `action(relay)` when the first frame of this kind passes. If the action returns
    False, the hook ends both conversations."""
    def hook(relay, frame):
        if relay.kinds[-1] == kind and relay.kinds.count(kind) == 1:
            return frame if action(relay) is not False else None
        return frame
    return hook


def in_backlog(path):
    """True if a client has connected to a UNIX socket and is not yet accepted."""
    rows = [row.split() for row in pathlib.Path("/proc/net/unix").read_text().splitlines()]
    SS_CONNECTING = "02"
    return any(row[-1] == path and row[5] == SS_CONNECTING for row in rows)


class Middle(TakeoverTest):
    def setUp(self):
        super().setUp()
        self.path = f"{self.directory}/echo"
        self.old = self.serve("--drain-timeout", "600", listen=("127.0.0.1:0", f"unix:{self.path}"))
        self.clients = self.connect(self.old, 3)

    def take_over_with(self, kind, action, ready=2):
        """Runs a takeover with the action in the middle. Returns the successor."""
        relay = self.relay(at(kind, action))
        with relay:
            new = self.begin(relay.path, "--drain-timeout", "600")
            new.control = self.control
            if ready:
                lines = [new.read_line() for _ in range(ready)]
                new.addresses = [line.split()[2] for line in lines]
            else:
                self.assertEqual(new.wait(), 1)
                self.assertRegex(new.stderr(), r"\Aonloop-echo: take over from [^\n]+\n\Z")
        return new

    def test_clients_that_come_wait_and_are_served(self):
        come = []

        def action(_):
            for index in range(100):
                come.append(self.enterContext(self.old.connect()))
                come[-1].sendall(b"early %d" % index)
            for client in self.clients:
                client.sendall(b"to whom it may concern")

        new = self.take_over_with(END, action)
        self.assert_ended(self.old)
        for index, client in enumerate(come):
            self.assertEqual(read_exactly(client, len(b"early %d" % index)), b"early %d" % index)
        for client in self.clients:
            self.assertEqual(read_exactly(client, 22), b"to whom it may concern")
        self.assertEqual(new.taken, 3)

    def test_after_go_the_old_process_is_not_needed(self):
        def action(_):
            self.assert_ended(self.old)
            self.clients[0].sendall(b"who is there")

        self.take_over_with(GO, action)
        self.assertEqual(read_exactly(self.clients[0], 12), b"who is there")
        self.assert_served(self.clients)

    def assert_all_is_served(self):
        self.assert_served(self.clients)
        self.connect(self.old)  # the address has stayed
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            echoes(client)

    def test_sigterm_to_the_old_process_changes_nothing(self):
        self.take_over_with(END, lambda _: pass_signal(self.old.pid, signal.SIGTERM))
        self.assert_ended(self.old)
        self.assert_all_is_served()

    def test_sigterm_to_the_old_one_counts_if_nobody_takes_over(self):
        def action(_):
            pass_signal(self.old.pid, signal.SIGTERM)
            return False

        self.take_over_with(END, action, ready=0)
        wait_until(lambda: not listens(self.old.pid, self.old.port), "the listener is closed")
        self.assertFalse(os.path.exists(self.path))
        self.assert_served(self.clients)
        for client in self.clients:
            client.close()
        self.assert_ended(self.old)

    def test_a_second_sigterm_to_the_old_one_stops_it_now(self):
        def action(_):
            pass_signal(self.old.pid, signal.SIGTERM)
            self.old.signal(signal.SIGTERM)
            self.assert_ended(self.old)
            return False

        self.take_over_with(CONNECTION, action, ready=0)
        for client in self.clients:
            self.assertTrue(ended(client))

    def test_sigterm_to_the_new_one_is_obeyed_once_all_is_there(self):
        new = self.take_over_with(END, lambda relay: pass_signal(relay.successor, signal.SIGTERM))
        self.assert_ended(self.old)
        wait_until(lambda: not listens(new.pid, self.old.port), "the listener is closed")
        self.assert_served(self.clients)
        for client in self.clients:
            client.close()
        self.assert_ended(new)
        self.assertFalse(os.path.exists(self.path))

    def test_sigterm_to_the_new_process_between_acknowledge_and_go(self):
        new = self.take_over_with(GO, lambda relay: pass_signal(relay.successor, signal.SIGTERM))
        self.assert_ended(self.old)
        self.assert_served(self.clients)
        for client in self.clients:
            client.close()
        self.assert_ended(new)

    def test_either_may_move_to_another_loop(self):
        def action(relay):
            pass_signal(self.old.pid, signal.SIGUSR2)
            pass_signal(relay.successor, signal.SIGUSR2)

        new = self.take_over_with(END, action)
        self.assert_ended(self.old)
        self.assertEqual(new.taken, 3)
        self.assert_all_is_served()

    def test_the_old_one_may_move_and_goes_on_if_nobody_takes_over(self):
        def action(_):
            pass_signal(self.old.pid, signal.SIGUSR2)
            return False

        self.take_over_with(END, action, ready=0)
        self.old.wait_for_line(r"onloop-echo: moved to .*")
        self.assert_all_is_served()

    def test_commands_to_the_old_one_are_answered(self):
        early = self.enterContext(socket.socket(socket.AF_UNIX))
        early.settimeout(DEADLINE)
        early.connect(self.control)
        early.sendall(b"stats\n")
        answers = self.enterContext(early.makefile("rb"))
        self.assertTrue(answers.readline().startswith(b"ok {"))
        said = []

        def action(_):
            for command in (b"stats\n", b"takeover\n", b"drain\n", b"takeover\n"):
                early.sendall(command)
                said.append(answers.readline().decode())

        self.take_over_with(END, action)
        self.assert_ended(self.old)
        self.assertEqual(json.loads(said[0].removeprefix("ok "))["connections"], 3)
        self.assertEqual(said[1:], ["error a takeover is under way\n", "ok draining 3 connections\n",
                                    "error the server is stopping\n"])
        self.assertEqual(answers.read(), b"")
        self.assert_all_is_served()

    def test_a_second_successor_takes_over_from_the_first(self):
        in_the_middle, go_on = threading.Event(), threading.Event()

        def action(_):
            in_the_middle.set()
            self.assertTrue(go_on.wait(DEADLINE))

        with self.relay(at(END, action)) as relay:
            first = self.begin(relay.path)
            self.assertTrue(in_the_middle.wait(DEADLINE))
            second = self.begin(self.control)  # not in the thread of the relay: the process would end with that thread
            wait_until(lambda: in_backlog(self.control), "it waits: nobody accepts it now")
            go_on.set()
            for server in (first, second):
                self.assertEqual([server.next_ready_line() for _ in range(2)], self.old.addresses)
        self.assert_ended(self.old)
        self.assert_ended(first)
        self.assertEqual(second.taken, 3)
        self.assert_all_is_served()

    def test_of_successors_at_the_same_time_one_is_left(self):
        rivals = [self.begin(self.control) for _ in range(4)]
        # Each rival takes over in its turn, or is refused. In the end, one of them serves.
        wait_until(lambda: [rival.process.poll() for rival in rivals].count(None) == 1 and
                   self.old.process.poll() is not None, "one is left")
        self.assert_ended(self.old)
        for rival in rivals:
            if rival.process.poll() == 1:
                self.assertRegex(rival.stderr(), r"\Aonloop-echo: take over from [^\n]+\n\Z")
            elif rival.process.poll() is not None:
                self.assert_ended(rival)
                self.assertEqual(len(rival.lines("onloop-echo: handed over 3 connections: stopping")), 1)
        self.assert_served(self.clients)
        self.assertEqual(json.loads(ctl(self.control, "stats").stdout)["connections"], 3)
        self.connect(self.old)  # the same port


if __name__ == "__main__":
    unittest.main()
