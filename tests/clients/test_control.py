"""The control socket, used by onloop-echo ctl and by the tests directly."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
import unittest

from server import DEADLINE, ECHO, LOOP, ClientTest, EchoServer, ctl, echoes, ended, listens, run, wait_until

NOBODY = 65534
MOST = 4096  # bytes of a command
MOVED = r"\Aonloop-echo: moved to [a-z-]+ \((direct|aggregate)\), served again after \d+ us\Z"
COMMANDS = ["cutover", "drain", "loops", "shutdown", "stats"]


class Control:
    """A connection to the control socket, line by line."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        line = self.lines.readline()
        if not line.endswith(b"\n"):
            raise AssertionError(f"no whole line: {line!r}")
        return line[:-1].decode()

    def ask(self, command):
        self.send(command.encode() + b"\n")
        return self.line()

    def ended(self):
        try:
            return self.lines.read() == b""
        except ConnectionResetError:
            return True

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.lines.close()
        self.socket.close()


class ControlTest(ClientTest):
    def setUp(self):
        self.directory = self.enterContext(tempfile.TemporaryDirectory())
        self.path = f"{self.directory}/control"

    def server(self, *arguments, **options):
        return EchoServer("--control", self.path, *arguments, **options)

    def control(self):
        return self.enterContext(Control(self.path))

    def told(self, *words):
        """Runs ctl with a command that must succeed. Returns what ctl prints."""
        result = ctl(self.path, *words)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result)
        self.assertRegex(result.stdout, r"\A[^\n]+\n\Z")
        return result.stdout[:-1]

    def assert_fails(self, result, status, *words):
        self.assertEqual((result.returncode, result.stdout), (status, ""), result)
        self.assertRegex(result.stderr, r"\Aonloop-echo: [^\n]+\n\Z")
        for word in words:
            self.assertIn(word, result.stderr)

    def statistics(self):
        return json.loads(self.told("stats"))


class Commands(ControlTest):
    def test_stats_are_those_of_the_signal_without_the_control_connections(self):
        with self.server() as server, server.connect() as client, server.connect() as other:
            echoes(client, b"x" * 1000)
            echoes(other)
            control = self.control()
            control.ask("stats")
            control.ask("nonsense")
            self.told("loops")
            statistics = self.statistics()
            before = server.stderr()
            server.signal(signal.SIGUSR1)
            line = wait_until(lambda: server.stderr()[len(before):], "statistics on standard error")
            by_signal = json.loads(line)
            self.assertEqual(list(by_signal), list(statistics))
            by_signal["uptime_seconds"] = statistics["uptime_seconds"]
            self.assertEqual(by_signal, statistics)
            expected = {"loop": LOOP, "connections": 2, "accepted": 2, "closed": 0, "turned_away": 0,
                        "bytes_received": 1001, "bytes_sent": 1001, "cutovers": 0, "last_stall_us": 0}
            self.assertEqual({name: statistics[name] for name in expected}, expected)

    def test_loops_are_listed_with_the_current_one(self):
        with self.server():
            loops = json.loads(self.told("loops"))
        listed = [line.split(maxsplit=1) for line in run("--list-loops").stdout.splitlines()]
        self.assertEqual([[loop["name"], loop["description"]] for loop in loops], listed)
        self.assertEqual([loop["name"] for loop in loops if loop.get("current")], [LOOP])
        for loop in loops:
            self.assertEqual(loop["available"], "not available" not in loop["description"])

    def test_cutover_answers_with_the_loop_and_the_hosting(self):
        with self.server() as server, server.connect() as client:
            for answer in ("native-poll direct", "native direct", "native-poll aggregate"):
                self.assertEqual(self.told("cutover", *answer.split()), answer)
                statistics = self.statistics()
                self.assertEqual(f"{statistics['loop']} {statistics['hosting']}", answer)
                echoes(client, answer.encode())
            self.assertGreater(statistics["last_stall_us"], 0)
            log = [line for line in server.stderr().splitlines() if "moved" in line]
            for line in log:
                self.assertRegex(line, MOVED)
            self.assertEqual(len(log), statistics["cutovers"])

    def test_without_a_hosting_it_is_that_of_the_option(self):
        with self.server("--hosting", "aggregate"):
            self.assertEqual(self.told("cutover", "native-poll"), "native-poll aggregate")

    def test_a_move_to_where_it_is_changes_nothing(self):
        with self.server():
            self.told("cutover", "native", "direct")
            before = self.statistics()["cutovers"]
            self.assertEqual(self.told("cutover", "native", "direct"), "native direct")
            self.assertEqual(self.statistics()["cutovers"], before)

    def test_a_cutover_that_is_refused_leaves_it_where_it_was(self):
        with self.server() as server, server.connect() as client:
            for words, told in ((["no-such-loop"], 'unknown loop "no-such-loop" (there are: native, '),
                                (["native", "both"], 'direct or aggregate, not "both"'),
                                ([], "cutover NAME [direct|aggregate]"),
                                (["native", "direct", "now"], "cutover NAME [direct|aggregate]")):
                self.assert_fails(ctl(self.path, "cutover", *words), 1, told)
            statistics = self.statistics()
            self.assertEqual((statistics["loop"], statistics["cutovers"]), (LOOP, 0))
            echoes(client, b"goes on")

    def test_unknown_and_malformed_commands(self):
        with self.server() as server:
            control = self.control()
            for command in ("no-such", "STATS", "stats now", "drain 5", "shutdown now", "", "   ", "\x00", "\x1b[2J",
                            "x" * MOST):
                answer = control.ask(command)
                self.assertRegex(answer, r"\Aerror [^\x00-\x1f]+\Z", repr(command))
            self.assertRegex(control.ask("no-such"), ", ".join(COMMANDS))
            self.assert_fails(ctl(self.path, "no-such"), 1, "no-such", ", ".join(COMMANDS))
            self.assertTrue(control.ask("stats").startswith("ok {"), "it is served on")
            garbage = os.urandom(100_000).replace(b"\n", b"?")
            control.send(garbage[:MOST] + b"\n")
            self.assertTrue(control.lines.readline().startswith(b"error "))
            with server.connect() as client:
                echoes(client)


class Lines(ControlTest):
    def test_lines_may_end_with_cr_lf_and_come_in_pieces(self):
        with self.server():
            control = self.control()
            control.send(b"stats\r\n")
            self.assertTrue(control.line().startswith("ok {"))
            for byte in b"cutover  native\tdirect \r\n":
                control.send(bytes([byte]))
            self.assertEqual(control.line(), "ok native direct")

    def test_pipelined_commands_are_answered_in_order_across_moves(self):
        with self.server():
            control = self.control()
            control.send(b"cutover native direct\ncutover native-poll direct\nnonsense\n"
                         b"cutover native aggregate\nstats\n")
            control.socket.shutdown(socket.SHUT_WR)
            self.assertEqual([control.line() for _ in range(2)], ["ok native direct", "ok native-poll direct"])
            self.assertTrue(control.line().startswith("error "))
            self.assertEqual(control.line(), "ok native aggregate")
            statistics = json.loads(control.line().removeprefix("ok "))
            self.assertEqual((statistics["loop"], statistics["hosting"]), ("native", "aggregate"))
            self.assertTrue(control.ended())

    def test_between_pipelined_commands_the_service_goes_on(self):
        # In one callback, all moves would come before the first turn on any of the loops, which is when they are
        # logged.
        with self.server() as server:
            self.told("cutover", "native", "aggregate")
            moves = server.stderr().count("moved to")
            control = self.control()
            control.send(b"cutover native direct\ncutover native-poll direct\n" * 100)
            for done in range(0, 200, 2):
                self.assertEqual(control.line(), "ok native direct")
                self.assertGreaterEqual(server.stderr().count("moved to"), moves + done)
                self.assertEqual(control.line(), "ok native-poll direct")

    def pipelined(self, server, control, last):
        """Sends commands until the server accepts no more. Then a thread sends the rest of the current command and
        `last`, and the test begins to read. Each answer names its command."""
        commands = b"".join(b"x%d\n" % number for number in range(200_000))
        sent, asleep = 0, False
        control.socket.setblocking(False)
        while True:
            try:
                sent += control.socket.send(commands[sent:sent + 100_000])
                asleep = False
            except BlockingIOError:
                if asleep:
                    break  # the server sleeps although there are commands for it
                server.wait_until_asleep()
                asleep = True
        control.socket.settimeout(DEADLINE)
        end = commands.index(b"\n", sent) + 1
        sender = threading.Thread(target=control.send, args=[commands[sent:end] + last])
        sender.start()
        for number in range(commands.count(b"\n", 0, end)):
            self.assertTrue(control.line().startswith(f'error unknown command "x{number}"'))
        sender.join()

    def test_a_client_that_does_not_read_is_not_served_on_and_loses_nothing(self):
        with self.server() as server, server.connect() as client:
            control = self.control()
            self.pipelined(server, control, b"stats\n")
            self.assertTrue(control.line().startswith("ok {"))
            echoes(client)
            expected = {"bytes_received": 1, "bytes_sent": 1, "connections": 1, "closed": 0}
            statistics = self.statistics()
            self.assertEqual({name: statistics[name] for name in expected}, expected)

    def test_shutdown_after_a_backlog_is_answered(self):
        with self.server() as server:
            control = self.control()
            self.pipelined(server, control, b"shutdown\n")
            self.assertTrue(control.line().startswith("ok stopping"))
            self.assertTrue(control.ended())
            self.assertEqual(server.wait(), 0)

    def test_a_line_that_is_too_long_is_refused_and_the_connection_closed(self):
        with self.server() as server, server.connect() as client:
            for data in (b"x" * (MOST + 1), b"x" * (MOST + 1) + b"\nshutdown\n", b"x" * 1_000_000):
                control = self.control()
                control.send(b"stats\n")
                self.assertTrue(control.line().startswith("ok {"))
                control.send(data)
                self.assertEqual(control.line(), f"error a command has at most {MOST} bytes")
                self.assertTrue(control.ended())
            echoes(client)

    def test_half_a_command_is_not_done(self):
        with self.server() as server:
            control = self.control()
            control.send(b"stats\nshutdown")
            control.socket.shutdown(socket.SHUT_WR)
            self.assertTrue(control.line().startswith("ok {"))
            self.assertTrue(control.line().startswith("error "))
            self.assertTrue(control.ended())
            with server.connect() as client:
                echoes(client)

    def test_a_client_that_goes_away_before_the_answer(self):
        with self.server() as server, server.connect() as client:
            asking = self.control()  # stays open; a client that has just left may still count as an open descriptor
            self.assertEqual(asking.ask("cutover native direct"), "ok native direct")
            before = server.open_descriptors()
            for command in (b"stats\n", b"loops\n" * 1000, b"nonsense\n", b"cutover native-poll\n", b"cutover native",
                            b"x" * 10_000):
                with Control(self.path) as control:
                    control.send(command)
            wait_until(lambda: self.statistics()["loop"] == "native-poll", "the move that nobody waited for")
            self.assertEqual(asking.ask("cutover native direct"), "ok native direct")
            wait_until(lambda: server.open_descriptors() == before, "each connection is closed")
            echoes(client)


class Ending(ControlTest):
    def test_drain_without_clients_ends_at_once(self):
        with self.server("--drain-timeout", "600") as server:
            idle = self.control()
            idle.ask("stats")
            self.assertEqual(self.told("drain"), "draining 0 connections")
            self.assertTrue(idle.ended(), "an idle control connection does not hold it up")
            self.assertEqual(server.wait(), 0, server.stderr())
        self.assertFalse(os.path.exists(self.path))

    def test_drain_waits_for_the_clients_and_can_be_watched(self):
        with self.server("--drain-timeout", "600") as server:
            idle = self.control()
            with server.connect() as client:
                echoes(client)
                self.assertEqual(self.told("drain"), "draining 1 connection")
                wait_until(lambda: not listens(server.pid, server.port), "the listener is closed")
                self.assertEqual(self.statistics()["connections"], 1)
                self.assertEqual(idle.ask("drain"), "ok draining 1 connection")
                self.told("cutover", "native-poll", "aggregate")
                echoes(client, b"served to its end")
                client.shutdown(socket.SHUT_WR)
                self.assertTrue(ended(client))
            self.assertTrue(idle.ended())
            self.assertEqual(server.wait(), 0, server.stderr())

    def test_drain_gives_up_at_the_limit(self):
        with self.server("--drain-timeout", "1") as server, server.connect() as client:
            idle = self.control()
            echoes(client)
            start = time.monotonic()
            self.told("drain")
            self.assertTrue(ended(client))
            self.assertTrue(idle.ended())
            self.assertEqual(server.wait(), 0, server.stderr())
            self.assertGreaterEqual(time.monotonic() - start, 1)
            self.assertIn("1 connection timed out", server.stderr())

    def test_an_idle_control_connection_does_not_hold_up_a_signal(self):
        with self.server("--drain-timeout", "600") as server:
            idle = self.control()
            idle.ask("stats")
            server.signal(signal.SIGTERM)
            self.assertTrue(idle.ended())
            self.assertEqual(server.wait(), 0, server.stderr())

    def test_shutdown_ends_it_now_and_is_answered(self):
        for draining in (False, True):
            with self.subTest(draining=draining):
                with self.server("--drain-timeout", "600") as server, server.connect() as client:
                    echoes(client)
                    if draining:
                        self.told("drain")
                    self.assertEqual(self.told("shutdown"), "stopping now, with 1 connection open")
                    self.assertTrue(ended(client))
                    self.assertEqual(server.wait(), 0, server.stderr())
                self.assertFalse(os.path.exists(self.path))

    def test_a_signal_ends_a_drain(self):
        with self.server("--drain-timeout", "600") as server, server.connect() as client:
            echoes(client)
            self.told("drain")
            server.signal(signal.SIGTERM)
            self.assertTrue(ended(client))
            self.assertEqual(server.wait(), 0, server.stderr())


class Access(ControlTest):
    def test_the_socket_is_private_and_goes_with_the_server(self):
        with self.server():
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertFalse(os.path.exists(self.path))

    def test_a_relative_path(self):
        with EchoServer("--control", "control", cwd=self.directory):
            self.told("stats")

    @unittest.skipIf(os.getuid() != 0, "only root can become another user")
    def ask_as_nobody(self, data):
        """Sends the data as another user, from a child process. Returns the answer."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                with Control(self.path) as control:
                    control.send(data)
                    control.socket.shutdown(socket.SHUT_WR)
                    os.write(writing, control.lines.read())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        return answer

    @unittest.skipIf(os.getuid() != 0, "only root can become another user")
    def test_another_user_is_told_so_and_not_heard(self):
        with self.server() as server:
            os.chmod(self.directory, 0o755)
            os.chmod(self.path, 0o666)
            self.assertEqual(self.ask_as_nobody(b"shutdown\n" * 1000),
                             b"error only the user that runs the server may control it\n")
            with server.connect() as client:
                echoes(client)
                self.assertEqual(self.statistics()["accepted"], 1)

    def test_a_path_has_one_server(self):
        with self.server():
            for arguments in ([], ["--replace-stale"]):
                self.assert_fails(run("--listen", "127.0.0.1:0", "--control", self.path, *arguments), 1, self.path,
                                  "Address already in use")
            self.told("stats")

    def test_the_socket_of_a_dead_server_is_replaced_only_on_request(self):
        self.server().kill()
        self.assert_fails(ctl(self.path, "stats"), 1, self.path, "Connection refused", "no server")
        self.assert_fails(run("--listen", "127.0.0.1:0", "--control", self.path), 1, "--replace-stale")
        with self.server("--replace-stale"):
            self.told("stats")

    def test_malformed_paths(self):
        for path in ("", "@name", "unix:/run/echo", "x" * 200):
            with self.subTest(path=path):
                self.assert_fails(run("--listen", "127.0.0.1:0", "--control", path), 2, path)
                self.assert_fails(ctl(path, "stats"), 2, path)
        self.assert_fails(run("--listen", "127.0.0.1:0", "--control", "/nonexistent/control"), 1,
                          "No such file or directory")


class Ctl(ControlTest):
    def test_nobody_listens(self):
        self.assert_fails(ctl(self.path, "stats"), 1, self.path, "No such file or directory", "no server")

    def test_usage(self):
        for arguments in ([], [self.path], [self.path, "--no-such"], [self.path, "stats\nshutdown"]):
            with self.subTest(arguments=arguments):
                self.assert_fails(ctl(*arguments), 2)

    def test_help_names_every_command(self):
        result = ctl("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for command in COMMANDS:
            self.assertIsNotNone(re.search(rf"(?m)^  {command}\b", result.stdout), command)

    def test_a_server_of_something_else(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen()
            listener.settimeout(DEADLINE)
            for answer, told in ((b"", "without an answer"), (b"ok", "without an answer"),
                                 (b"220 hello\n", "220 hello")):
                with subprocess.Popen([ECHO, "ctl", self.path, "stats"], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True) as process:
                    client, _ = listener.accept()
                    with client:
                        self.assertEqual(client.recv(100), b"stats\n")
                        client.sendall(answer)
                    out, err = process.communicate(timeout=DEADLINE)
                self.assert_fails(subprocess.CompletedProcess([], process.returncode, out, err), 1, told)

    def ask_a_server_that(self, behaves, user=None, options=()):
        """Runs ctl with a false server, which listens as `user` and calls `behaves` with the connection. Returns the
        result of ctl."""
        os.chmod(self.directory, 0o777)
        with socket.socket(socket.AF_UNIX) as listener:
            if user is not None:
                os.seteuid(user)
            try:
                listener.bind(self.path)
                listener.listen()
            finally:
                if user is not None:
                    os.seteuid(0)
            listener.settimeout(DEADLINE)
            with subprocess.Popen([ECHO, "ctl", *options, self.path, "stats"], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True) as process:
                client, _ = listener.accept()
                client.settimeout(DEADLINE)
                with client:
                    behaves(client)
                    out, err = process.communicate(timeout=DEADLINE)
        return subprocess.CompletedProcess([], process.returncode, out, err)

    @unittest.skipIf(os.getuid() != 0, "only root can become another user")
    def test_a_server_of_another_user_is_told_nothing(self):
        heard = []
        result = self.ask_a_server_that(lambda client: heard.append(client.recv(100)), user=NOBODY)
        self.assert_fails(result, 1, self.path, f"user {NOBODY}", "nothing was sent")
        self.assertEqual(heard, [b""])

    def test_an_answer_does_nothing_to_the_terminal(self):
        hostile = b"\x1b]0;title\x07\x9b2J\xc2\x9b2J\r\x7f \xc3\xa9 \xe2\x82\xac \xed\xa0\x80 \xc0\x9b \xc3"
        shown = r"\x1b]0;title\x07\x9b2J\xc2\x9b2J\x0d\x7f é € \xed\xa0\x80 \xc0\x9b \xc3"
        result = self.ask_a_server_that(lambda client: client.sendall(b"ok " + hostile + b"\n"))
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, shown + "\n", ""))
        for begin in (b"error ", b""):
            os.unlink(self.path)
            result = self.ask_a_server_that(lambda client: client.sendall(begin + hostile + b"\n"))
            self.assert_fails(result, 1, shown)

    def test_what_follows_the_answer_is_not_waited_for(self):
        result = self.ask_a_server_that(lambda client: client.sendall(b"ok this\nand that"))
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "this\n", ""))

    def test_a_server_that_floods(self):
        sent = []

        def flood(client):
            try:
                while True:
                    sent.append(client.send(b"x" * 65536))
            except (BrokenPipeError, ConnectionResetError):
                pass

        self.assert_fails(self.ask_a_server_that(flood), 1, self.path, "more than 1 MiB")
        self.assertLess(sum(sent), 4 << 20)

    def test_a_server_that_is_silent_or_dribbles(self):
        def dribble(client):
            try:
                while True:
                    client.sendall(b"x")
                    time.sleep(0.1)
            except (BrokenPipeError, ConnectionResetError):
                pass

        # ctl has a loop of its own, so the default is waited for once.
        seconds, options = ("10", ()) if LOOP == "native" else ("0.5", ("--timeout", "0.5"))
        self.assert_fails(self.ask_a_server_that(dribble, options=options), 1, self.path,
                          f"no answer within {seconds} seconds")


if __name__ == "__main__":
    unittest.main()
