"""Processes that may not take over, and messages that either side refuses."""

import json
import os
import shutil
import signal
import socket
import struct
import time
import unittest

import raw_takeover_channel as raw
from raw_takeover_channel import (ACKNOWLEDGE, CONNECTION, DATA, END, GIVE_UP, GO, HELLO, LISTENER, LONGEST, OldServer,
                                  Successor, head_and)
from server import DEADLINE, ECHO, ctl, echoes, wait_until
from takeover_case import TakeoverTest, take_over
from test_takeover import send_until_stuck

NOBODY = 65534
NO_TAKEOVER = r"onloop-echo: takeover failed, still serving: [^\n]+"


class BadServers(TakeoverTest):
    """A successor meets something that is not a server, or a server that breaks the protocol."""

    def test_nobody_at_the_path(self):
        self.assert_fails(take_over(f"{self.directory}/none"), "No such file or directory",
                          "no server runs with this --control")

    def test_a_file_that_is_no_socket(self):
        path = f"{self.directory}/file"
        open(path, "w").close()
        self.assert_fails(take_over(path), "Connection refused", "no server runs with this --control")

    def test_a_socket_of_a_dead_server(self):
        server = self.serve()
        server.process.kill()
        server.wait()
        self.assert_fails(take_over(self.control), "Connection refused", "no server runs with this --control")

    def test_a_server_that_is_draining(self):
        server = self.serve("--drain-timeout", "600")
        [client] = self.connect(server)
        server.signal(signal.SIGTERM)
        server.wait_for_line("onloop-echo: SIGTERM: draining 1 connection .*")
        self.assert_fails(take_over(self.control), "refused: the server is stopping")
        echoes(client)
        client.close()
        self.assert_ended(server)

    def told(self, answer):
        path = f"{self.directory}/stranger"
        with OldServer(path, lambda _: None, answer):
            return take_over(path)

    def test_answers_of_something_else(self):
        for answer, words in ((b"", "the server closed the connection without an answer"),
                              (b"ok", "the server closed the connection without an answer"),
                              (b"220 mail\r\n", "not an answer of onloop-echo: 220 mail"),
                              (b"x" * 5000, "not an answer of onloop-echo: the line is too long"),
                              (b"error not today\n", "refused: not today"),
                              (b"ok \n", "the other process has gone, or refused")):
            with self.subTest(answer=answer[:20]):
                self.assert_fails(self.told(answer), words)

    def test_an_answer_that_trickles_in_is_not_waited_for_any_longer(self):
        path = f"{self.directory}/stranger"

        def dribble(link):
            while True:  # until the successor has gone
                link.send(b"x")
                time.sleep(0.05)

        start = time.monotonic()
        with OldServer(path, dribble, b"o"):
            self.assert_fails(take_over(path), "the server does not answer")
        self.assertLess(time.monotonic() - start, 20)

    def assert_refused(self, words, *pieces):
        """Sends these pieces of (bytes, descriptors) to a successor. Asserts that it exits with status 1 and a line
        with these words, and that it has acknowledged nothing."""
        heard = bytearray()

        def play(link):
            for data, descriptors in pieces:
                link.send(data, descriptors)
            link.socket.shutdown(socket.SHUT_WR)
            while link.receive():
                pass
            heard.extend(link.input)

        path = f"{self.directory}/stranger"
        with OldServer(path, play):
            result = take_over(path)
        self.assert_fails(result, words)
        self.assertNotEqual(bytes(heard[:4]), struct.pack("=I", ACKNOWLEDGE))

    def fixture(self):
        """Descriptors to send: a listening socket, a connection, a datagram socket and a file."""
        listening = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        here, there = socket.socketpair()
        self.enterContext(here)
        self.enterContext(there)
        datagrams = self.enterContext(socket.socket(type=socket.SOCK_DGRAM))
        file = self.enterContext(open(os.devnull))
        return [listening.fileno()], [here.fileno()], [datagrams.fileno()], [file.fileno()]

    def test_records_that_are_malformed(self):
        listening, connected, datagrams, file = self.fixture()
        hello = (head_and(HELLO, raw.hello()), [])
        listener = (head_and(LISTENER, raw.listener()), listening)
        connection = (head_and(CONNECTION, raw.connection()), connected)

        def ends(listeners, connections):
            return head_and(END, raw.end(listeners, connections)), []

        order = "in a wrong order"
        cases = {
            "nothing": ("has gone, or refused",),
            "half a head": ("has gone, or refused", (b"\1\0\0", [])),
            "half a record": ("has gone, or refused", (hello[0][:-3], [])),
            "garbage": ("something else than a takeover", (os.urandom(3) + b"\xff" * 500, [])),
            "no such kind": ("something else than a takeover", (head_and(9, b""), [])),
            "oversized": (f"record of {LONGEST + 1} bytes", (struct.pack("=II", HELLO, LONGEST + 1), [])),
            "endless": ("record of 4294967295 bytes", (struct.pack("=II", HELLO, 0xFFFFFFFF), [])),
            "wrong magic": ("not the beginning of a takeover", (head_and(HELLO, raw.hello(magic=1)), [])),
            "wrong version": ("by version 1 of the protocol", (head_and(HELLO, raw.hello(version=1)), [])),
            "short hello": ("cut short", (head_and(HELLO, raw.hello()[:-1]), [])),
            "long hello": ("longer than it should be", (head_and(HELLO, raw.hello() + b"x"), [])),
            "no hello": (order, listener),
            "two hellos": (order, hello, hello),
            "end first": (order, ends(0, 0)),
            "go unasked": (order, hello, (head_and(GO, b""), [])),
            "acknowledged by the wrong side": (order, hello, (head_and(ACKNOWLEDGE, b""), [])),
            "data of nobody": ("more data of a connection than it said", hello, (head_and(DATA, b"x"), [])),
            "a listener behind a connection": (order, hello, connection, listener),
            "fewer connections": ("another number of records", hello, ends(0, 1)),
            "more connections": ("another number of records", hello, connection, ends(0, 0)),
            "more listeners": ("another number of records", hello, listener, ends(0, 0)),
            "a descriptor too many": ("another number of records", hello,
                                      (connection[0], connected * 2), ends(0, 1)),
            "a connection without its descriptor": ("without its descriptor", hello, (connection[0], [])),
            "a listener without its descriptor": ("without its descriptor", hello, (listener[0], [])),
            "a listener without a socket": ("a listener without a socket", hello,
                                            (head_and(LISTENER, raw.listener(sockets=0)), [])),
            "a listener of four thousand million": ("without its descriptor", hello,
                                                    (head_and(LISTENER, raw.listener(sockets=2**32 - 1)), listening)),
            "a listener that is a connection": ("not that of a listening", hello, (listener[0], connected)),
            "a listener that is a datagram socket": ("not that of a listening", hello, (listener[0], datagrams)),
            "a listener that is a file": ("not that of a listening", hello, (listener[0], file)),
            "a connection that is a listener": ("not that of one", hello, (connection[0], listening)),
            "a connection that is a datagram socket": ("not that of one", hello, (connection[0], datagrams)),
            "a connection that is a file": ("not that of one", hello, (connection[0], file)),
            "a connection of no listener": ("of a listener that was not sent", hello,
                                            (head_and(CONNECTION, raw.connection(of=7)), connected)),
            "an unknown protocol": ('protocol "smtp"', hello,
                                    (head_and(CONNECTION, raw.connection(name=b"smtp")), connected)),
            "a name that is cut": ("cut short", hello,
                                   (head_and(CONNECTION, struct.pack("=I", 200) + b"echo"), connected)),
            "a name that is too long": ("a part of it is too long", hello,
                                        (head_and(CONNECTION, raw.connection(name=b"e" * 256)), connected)),
            "a flag that is neither": ("garbled", hello,
                                       (head_and(CONNECTION, raw.connection(flags=b"\2" * 8)), connected)),
            "limits that fall": ("limits do not rise", hello,
                                 (head_and(LISTENER, raw.listener(bounds=raw.limits(high=1, low=2))), listening)),
            "a time-out without end": ("a time-out is endless", hello,
                                       (head_and(CONNECTION, raw.connection(clock=2**63)), connected)),
            "more queued than allowed": ("more is queued than its limits allow", hello,
                                         (head_and(CONNECTION, raw.connection(queued=2**62)), connected)),
            "bytes behind the end": ("bytes behind the end", hello,
                                     (head_and(CONNECTION, raw.connection(flags=bytes(6) + b"\1\1", queued=1)),
                                      connected)),
            "less data": ("less data of a connection than it said", hello,
                          (head_and(CONNECTION, raw.connection(queued=2)), connected),
                          (head_and(DATA, b"x"), []), ends(0, 1)),
            "more data": ("more data of a connection than it said", hello,
                          (head_and(CONNECTION, raw.connection(queued=2)), connected), (head_and(DATA, b"xyz"), [])),
            "given up": ("gave up: no mood", hello, (head_and(GIVE_UP, b"no mood"), [])),
            "given up in several lines": ("gave up: a\\x0ab", hello, (head_and(GIVE_UP, b"a\nb"), [])),
            "all but the end": ("has gone, or refused", hello, listener, connection),
        }
        for name, (words, *pieces) in cases.items():
            with self.subTest(name):
                self.assert_refused(words, *pieces)

    def test_descriptors_without_end(self):
        *_, file = self.fixture()
        hello = (head_and(HELLO, raw.hello()), file * 253)
        self.assert_refused("descriptors without records", hello, *[(b"\1", file * 253)] * 5)

    def test_the_stand_in_would_be_taken_if_it_were_honest(self):
        listening, connected, *_ = self.fixture()

        def play(link):
            link.send(head_and(HELLO, raw.hello()))
            link.send(head_and(LISTENER, raw.listener()), listening)
            link.send(head_and(CONNECTION, raw.connection(of=0, queued=3)), connected)
            link.send(head_and(DATA, b"abc"))
            link.send(head_and(END, raw.end(1, 1)))
            self.assertEqual(link.frame()[0], ACKNOWLEDGE)
            link.send(head_and(GO, b""))

        path = f"{self.directory}/stand-in"
        with OldServer(path, play):
            new = self.begin(path)
            new.next_ready_line()
        self.assertEqual(new.taken, 1)


class BadSuccessors(TakeoverTest):
    """A server meets something that is not a successor."""

    def setUp(self):
        super().setUp()
        self.server = self.serve()
        self.clients = self.connect(self.server, 5)

    def assert_goes_on(self, words=""):
        self.server.wait_for_line(NO_TAKEOVER)
        self.assertIn(words, self.server.stderr())
        self.assertEqual(self.server.stderr().count("\n"), 1, self.server.stderr())
        self.assert_served(self.clients)
        self.assertEqual(json.loads(self.server.ctl("stats"))["connections"], 5)
        self.successor(self.server)  # a correct successor can still take over
        self.assert_ended(self.server)
        self.assert_served(self.clients)

    def test_garbage(self):
        with Successor(self.control) as successor:
            successor.send(b"\xff" * 100)
            self.assert_goes_on("something else than a takeover")

    def test_an_oversized_answer(self):
        with Successor(self.control) as successor:
            successor.send(struct.pack("=II", ACKNOWLEDGE, 1 << 31))
            self.assert_goes_on("record of 2147483648 bytes")

    def test_an_acknowledgement_too_early(self):
        for client in self.clients:
            send_until_stuck(client, 8 << 20)  # so that not all records fit into the socket
        with Successor(self.control) as successor:
            successor.acknowledge()
            self.server.wait_for_line(NO_TAKEOVER + "acknowledges what it can't have got yet[^\n]*")
        for client in self.clients:
            client.close()
        self.clients = self.connect(self.server, 5)
        wait_until(lambda: json.loads(self.server.ctl("stats"))["connections"] == 5, "the others are gone")
        self.assert_goes_on()

    def test_an_acknowledgement_of_what_was_not_read(self):
        for number, (words, said) in enumerate((("cut short", b""), ("longer than it should be", raw.end() + b"x"),
                                                ("acknowledges something else", raw.end(2, 5, nonce=0))), 1):
            with self.subTest(words), Successor(self.control) as successor:
                successor.send(head_and(ACKNOWLEDGE, said))
                self.server.wait_for_line(NO_TAKEOVER, number)
                # The acknowledgement may come while the last records are still being sent.
                self.assertRegex(self.server.lines(NO_TAKEOVER)[-1], f"{words}|can't have got yet")
                self.assert_served(self.clients)

    def test_an_acknowledgement_of_another_number(self):
        with Successor(self.control) as successor:
            successor.take_all()
            listeners, connections, nonce = struct.unpack("=IIQ", successor.end)
            successor.send(head_and(ACKNOWLEDGE, raw.end(listeners, connections - 1, nonce)))
            self.assert_goes_on("acknowledges something else than what it was sent")

    def test_the_wrong_record_at_the_end(self):
        with Successor(self.control) as successor:
            successor.take_all()
            successor.send(head_and(HELLO, raw.hello()))
            self.assert_goes_on("acknowledges what it can't have got yet")

    def test_one_that_gives_up(self):
        with Successor(self.control) as successor:
            successor.take_all()
            successor.send(head_and(GIVE_UP, b"changed\nmy mind"))
            self.assert_goes_on("the other process gave up: changed\\x0amy mind")

    def test_one_that_goes_with_its_first_word(self):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(self.control)
            link.sendall(b"takeover\n")
        # The server logs a failed takeover only if the client was still there for the answer.
        self.successor(self.server)
        self.assert_ended(self.server)
        self.assert_served(self.clients)

    def test_ctl_does_not_ask_for_what_it_cannot_take(self):
        for words in (["takeover"], [" takeover "], ["takeover", "now"]):
            result = ctl(self.control, *words)
            self.assertEqual((result.returncode, result.stdout), (2, ""), result)
            self.assertRegex(result.stderr, rf"\Aonloop-echo: [^\n]+ onloop-echo --takeover {self.control}\n\Z")
        self.assert_served(self.clients)
        self.assertEqual(self.server.stderr(), "")

    def test_the_command_takes_no_argument(self):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(self.control)
            link.sendall(b"takeover now\n")
            self.assertRegex(link.recv(200), rb"\Aerror [^\n]+\n\Z")
        self.assert_served(self.clients)
        self.assertEqual(self.server.stderr(), "")


@unittest.skipUnless(os.getuid() == 0, "only root has other users at hand")
class OtherUsers(TakeoverTest):
    """SO_PEERCRED decides, whatever mode the socket has."""

    identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    def setUp(self):
        super().setUp()
        os.chmod(self.directory, 0o755)
        # The program is copied, because the user `nobody` may not read a home directory.
        self.program = shutil.copy(ECHO, f"{self.directory}/onloop-echo")

    def as_nobody(self, path):
        return take_over(path, program=self.program, cwd="/", **self.identity)

    def test_a_successor_of_another_user_is_refused(self):
        server = self.serve()
        clients = self.connect(server)
        os.chmod(self.control, 0o777)
        self.assert_fails(self.as_nobody(self.control),
                          "refused: only the user that runs the server may control it")
        self.assert_served(clients)
        self.assertEqual(server.stderr(), "")

    def test_a_successor_may_not_even_connect_by_the_mode_of_the_socket(self):
        self.serve()
        self.assert_fails(self.as_nobody(self.control), "Permission denied")

    def test_a_server_of_another_user_is_not_believed(self):
        path = f"{self.directory}/stranger"
        with OldServer(path, lambda link: link.receive()):
            os.chmod(path, 0o777)
            self.assert_fails(self.as_nobody(path), "runs as another user (0)")

    def test_a_server_of_a_stranger_is_told_nothing(self):
        path = f"{self.directory}/stranger"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.settimeout(DEADLINE)
            listener.bind(path)
            os.seteuid(NOBODY)
            try:
                listener.listen()  # SO_PEERCRED reports the user that called listen()
            finally:
                os.seteuid(0)
            self.assert_fails(take_over(path), f"user {NOBODY} listens there, who is neither you nor root")
            told, _ = listener.accept()
            with told:
                self.assertEqual(told.recv(100), b"")


if __name__ == "__main__":
    unittest.main()
