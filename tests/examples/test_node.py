"""The examples with the API of Node, used by nc and socat and compared with Node itself."""

import os
import re
import shutil
import signal
import socket
import subprocess
import unittest

from program import Program
from server import DEADLINE, ClientTest, clean_environment, echoes, ended, port_of_nobody

ORDER = """\
run main thread
tick task
promise resolve
timer task
tick task in timeout
tick task in timeout->tick
promise resolve in timeout
tick task in timeout promise
immediate task
immediate->tick task
"""

PHASES_IN_NODE = """
setTimeout(() => {
  Promise.resolve().then(() => {
    console.log('promise resolve in timeout');
    process.nextTick(() => { console.log('tick task in timeout promise'); });
  });
  process.nextTick(() => {
    console.log('tick task in timeout');
    process.nextTick(() => { console.log('tick task in timeout->tick'); });
  });
  console.log('timer task');
}, 0);
// Node takes zero for a millisecond, after which the first immediate may be over: so here one later.
const until = Date.now() + 5;
while (Date.now() < until);
setImmediate(() => {
  process.nextTick(() => { console.log('immediate->tick task'); });
  console.log('immediate task');
});
Promise.resolve().then(() => { console.log('promise resolve'); });
process.nextTick(() => { console.log('tick task'); });
console.log('run main thread');
"""


class NodeProgram(Program):
    """A program that does not handle signals, so that a signal kills it."""

    def __init__(self, name, address):
        super().__init__(name, None, address)

    def read_ready_line(self):
        self.ready = self.read_line()

    def end(self, number=signal.SIGTERM):
        status = super().end(number)
        return 0 if -status in (signal.SIGINT, signal.SIGTERM) else status


def listening_port(process):
    """The port of the only socket on which the process listens."""
    links = (os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd"))
    inodes = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    ports = [int(row[1].split(":")[1], 16) for row in rows if row[9] in inodes and row[3] == "0A"]
    assert len(ports) == 1, ports
    return ports[0]


class EchoServer(ClientTest):
    def server(self):
        server = NodeProgram("node_echo_server", "127.0.0.1:0")
        self.assertEqual(server.ready, "Press Ctrl+C to stop.")
        server.port = listening_port(server.process)
        return server

    def relay(self, server, *command):
        result = subprocess.run(command, input=b"hello", capture_output=True, timeout=DEADLINE, env=clean_environment())
        self.assertEqual((result.returncode, result.stdout), (0, b"hello"), result.stderr)
        self.assertEqual(server.read_line(), "received: hello")

    def test_nc_and_socat_get_their_words_back(self):
        with self.server() as server:
            self.relay(server, "nc", "-N", "127.0.0.1", str(server.port))
            self.relay(server, "socat", "-t", "30", "STDIO", f"TCP:127.0.0.1:{server.port}")

    def test_ten_clients_at_once(self):
        with self.server() as server:
            clients = [server.connect() for _ in range(10)]
            for number, client in enumerate(clients):
                echoes(client, b"from %d" % number)
                self.assertEqual(server.read_line(), f"received: from {number}")
            for client in clients:
                client.shutdown(socket.SHUT_WR)
                self.assertTrue(ended(client))
                client.close()

    def test_ctrl_c_stops_it(self):
        with self.server() as server:
            self.assertEqual(server.end(signal.SIGINT), 0)


class ServerAndClient(ClientTest):
    def server(self):
        server = NodeProgram("node_server", "127.0.0.1:0")
        match = re.fullmatch(r"server is listening on 127\.0\.0\.1:(\d+)", server.ready)
        self.assertTrue(match, server.ready)
        server.port = int(match[1])
        return server

    def client(self, server):
        client = NodeProgram("node_client", f"127.0.0.1:{server.port}")
        self.assertEqual(client.ready, "connect success")
        return client

    def test_they_talk_and_the_server_counts(self):
        with self.server() as server, self.client(server):
            self.assertEqual(server.read_line(), "current clients is: 1")
            self.assertRegex(server.read_line(), r"^received data: Hello Server!, I'm \d+$")
            with self.client(server):
                self.assertEqual(server.read_line(), "current clients is: 2")
                self.assertRegex(server.read_line(), r"^received data: Hello Server!, I'm \d+$")

    def test_the_client_ends_by_itself_when_the_server_does(self):
        with self.server() as server, self.client(server) as client:
            self.assertRegex(server.read_line() + server.read_line(), "received data")
            server.end()
            self.assertEqual(client.process.wait(DEADLINE), 0)

    def test_a_client_without_a_server_says_so_and_ends(self):
        with port_of_nobody() as nobody:
            port = nobody.getsockname()[1]
            result = subprocess.run([os.environ["ONLOOP_EXAMPLE_node_client"], f"127.0.0.1:{port}"],
                                    capture_output=True, timeout=DEADLINE, env=clean_environment(), text=True)
        self.assertEqual((result.returncode, result.stdout, result.stderr),
                         (0, "", f"onloop: connect to 127.0.0.1:{port}: Connection refused\n"))


class Phases(ClientTest):
    def test_the_order_is_that_of_node(self):
        ours = subprocess.run([os.environ["ONLOOP_EXAMPLE_node_phases"]], capture_output=True, timeout=DEADLINE,
                              env=clean_environment(), text=True)
        self.assertEqual((ours.returncode, ours.stdout, ours.stderr), (0, ORDER, ""))
        node = shutil.which("node")
        self.assertTrue(node, "Node is not installed")
        theirs = subprocess.run([node, "-e", PHASES_IN_NODE], capture_output=True, timeout=DEADLINE, text=True)
        self.assertEqual((theirs.returncode, theirs.stdout), (0, ORDER), theirs.stderr)


if __name__ == "__main__":
    unittest.main()
