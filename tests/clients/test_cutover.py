"""A server moves from loop to loop under traffic. No byte is lost, no byte comes twice, and no connection ends."""

import asyncio
import contextlib
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import tempfile
import unittest

from server import (DEADLINE, ECHO, LOAD, ClientTest, EchoServer, available_loops, clean_environment, ctl, echoes, tour,
                    wait_until)

CLIENTS = 6
WINDOW = 100_000  # the most bytes of a client that may be in flight


class Client:
    """Sends a stream that does not repeat within a window, and compares it with what comes back."""

    def __init__(self):
        self.pattern = os.urandom(65_521)
        self.sent = self.received = 0
        self.ending = False
        self.progress = asyncio.Condition()

    def at(self, position, count):
        begin = position % len(self.pattern)
        whole = self.pattern * (2 + count // len(self.pattern))
        return whole[begin:begin + count]

    async def send(self, writer):
        for size in itertools.cycle((1, 10_000, 64, 3_000)):
            async with self.progress:
                await self.progress.wait_for(lambda: self.ending or self.sent + size - self.received <= WINDOW)
            if self.ending:
                break
            writer.write(self.at(self.sent, size))
            self.sent += size
            await writer.drain()
        writer.write_eof()

    async def receive(self, reader):
        while data := await reader.read(65_536):
            if data != self.at(self.received, len(data)):
                raise AssertionError(f"wrong bytes after {self.received}")
            self.received += len(data)
            async with self.progress:
                self.progress.notify_all()

    async def run(self, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(self.send(writer), self.receive(reader))
        writer.close()
        await writer.wait_closed()
        if self.sent != self.received:
            raise AssertionError(f"sent {self.sent} bytes, {self.received} came back")

    async def served(self):
        """Waits until all bytes that are in flight now, and at least one more, have come back."""
        goal = self.sent
        async with self.progress:
            await self.progress.wait_for(lambda: self.received > goal)

    async def end(self):
        async with self.progress:
            self.ending = True
            self.progress.notify_all()


async def output_of(*command):
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment())
    out, err = await process.communicate()
    if process.returncode != 0:
        raise AssertionError(f"{command}: exit status {process.returncode}, {err!r}")
    return out.decode().strip()


async def load_again_and_again(address, stop):
    """Runs onloop-load again and again. It checks every byte, and each run opens new connections. Returns the number of
    runs."""
    runs = 0
    while not stop.is_set():
        await output_of(LOAD, address, "--connections", "5", "--window", "4", "--size", "1500", "--messages", "5000")
        runs += 1
    return runs


async def under_traffic(server, moves):
    """Runs `moves(clients)` while the server serves clients and onloop-load."""
    clients = [Client() for _ in range(CLIENTS)]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(server.port))
        load = group.create_task(load_again_and_again(server.addresses[0], stop))
        await moves(clients)
        stop.set()
        for client in clients:
            await client.end()
    return load.result()


async def all_served(clients):
    await asyncio.gather(*(client.served() for client in clients))


class Cutover(ClientTest):
    def setUp(self):
        directory = self.enterContext(tempfile.TemporaryDirectory())
        self.path = f"{directory}/control"

    def server(self, hosting):
        return EchoServer("--control", self.path, loop="native", hosting=hosting)

    def statistics(self):
        return json.loads(ctl(self.path, "stats").stdout)

    def traffic(self, server, moves):
        self.assertGreater(asyncio.run(asyncio.wait_for(under_traffic(server, moves), 4 * DEADLINE)), 0)

    def test_between_all_loops_and_hostings_under_traffic(self):
        loops = available_loops()
        self.assertLessEqual({"native", "native-poll"}, set(loops))
        places = [f"{loop} {hosting}" for loop in loops for hosting in ("direct", "aggregate")]
        stops = tour(places)
        self.assertEqual(len(set(itertools.pairwise(stops))), len(places) * (len(places) - 1))

        async def moves(clients):
            for place in stops[1:]:
                self.assertEqual(await output_of(ECHO, "ctl", self.path, "cutover", *place.split()), place)
                await all_served(clients)

        with self.server("direct") as server:
            self.traffic(server, moves)
            statistics = self.statistics()
            log = server.stderr()
        self.assertEqual((statistics["cutovers"], log.count("moved to")), (len(stops) - 1, len(stops) - 1), log)
        self.assertEqual((statistics["loop"], statistics["hosting"]), ("native", "direct"))

    def rounds(self, hosting):
        """Goes round all loops twice by SIGUSR2. Returns the lines of the log."""
        loops = available_loops()

        async def moves(clients):
            for count in range(1, 2 * len(loops) + 1):
                server.signal(signal.SIGUSR2)
                await asyncio.to_thread(wait_until, lambda: server.stderr().count("moved to") == count, "the move")
                await all_served(clients)

        with self.server(hosting) as server:
            self.traffic(server, moves)
            self.assertEqual(self.statistics()["cutovers"], 2 * len(loops))
            return server.stderr().splitlines()

    def assert_moved(self, lines, places):
        self.assertEqual(len(lines), len(places), lines)
        for line, place in zip(lines, places):
            self.assertRegex(line, rf"\Aonloop-echo: moved to {place}, served again after \d+ us\Z")

    def test_signals_go_round_the_available_loops_twice(self):
        others = [rf"{loop} \({'direct' if loop.startswith('native') else 'aggregate'}\)" for loop in available_loops()]
        self.assert_moved(self.rounds(""), 2 * [*others[1:], others[0]])

    def test_signals_keep_the_hosting_that_was_given(self):
        others = [rf"{loop} \(aggregate\)" for loop in available_loops()]
        self.assert_moved(self.rounds("aggregate"), 2 * [*others[1:], others[0]])

    def test_a_move_that_fails_is_told_and_service_goes_on(self):
        with self.server("aggregate") as server, contextlib.ExitStack() as clients:
            client = clients.enter_context(server.connect())
            echoes(client)
            self.assertEqual(ctl(self.path, "cutover", "native-poll", "direct").returncode, 0)
            control = self.enterContext(socket.socket(socket.AF_UNIX))
            control.connect(self.path)
            control.sendall(b"stats\n")
            self.assertTrue(control.recv(4096).startswith(b"ok "), "the server has it open")
            soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            # New clients take the lowest free descriptor numbers. Then the limit leaves no free number, but poll(2) can
            # still watch its descriptors.
            for _ in range(8):
                echoes(clients.enter_context(server.connect()))
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.open_descriptors(), hard))
            before = server.stderr()
            control.sendall(b"cutover native direct\n")
            answer = control.makefile().readline()
            self.assertRegex(answer, r"\Aerror .*Too many open files\n\Z")
            server.signal(signal.SIGUSR2)
            line = wait_until(lambda: server.stderr()[len(before):], "the error")
            self.assertRegex(line, r"\Aonloop-echo: SIGUSR2: still on native-poll: [^\n]*Too many open files\n\Z")
            echoes(client, b"goes on")
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
            statistics = self.statistics()
            self.assertEqual([statistics[name] for name in ("loop", "hosting", "cutovers")],
                             ["native-poll", "direct", 1])
            self.assertEqual(ctl(self.path, "cutover", "native", "direct").returncode, 0)
            echoes(client, b"moves again")


if __name__ == "__main__":
    unittest.main()
