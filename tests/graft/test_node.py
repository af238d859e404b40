"""Node: an onloop guest on the libuv loop that runs JavaScript, brought in by an addon."""

import shutil
import socket
import unittest

from host import GRAFT, GraftTest, Host, connect, run

BEGIN = """
'use strict';
const onloop = require(process.env.ONLOOP_GRAFT);
const listen = process.env.ONLOOP_GRAFT_LISTEN;
const ready = (service) => process.stderr.write(`listening on ${service.address} (libuv)\\n`);
"""


@unittest.skipUnless(shutil.which("node"), "Node is not installed")
class Node(GraftTest):
    def node(self, script, *options, **arguments):
        return Host("node", *options, "-e", BEGIN + script, env={}, **arguments)

    def assert_ends(self, host, status=0):
        self.assertEqual(host.wait(), status, host.stderr())

    def test_host_and_guest_are_served_at_a_time(self):
        """Timers, and a server of Node's own."""
        with self.node("""
                let [received, ticks] = [0, 0];
                const service = onloop.echo(listen, (bytes) => { received += bytes.length; });
                const timer = setInterval(() => ++ticks, 1);
                const server = require('http').createServer((request, response) => {
                  response.end(String(ticks));
                  if (request.url !== '/end') return;
                  service.close();
                  server.close();
                  clearInterval(timer);
                  console.log('received', received);
                }).listen(0, '127.0.0.1', () => { console.log('http', server.address().port, ''); ready(service); });
                """) as host:
            address = host.address("libuv")
            port = int(host.stdout().split()[1])

            def ask(path=b"/"):
                with socket.create_connection(("127.0.0.1", port), 60) as client:
                    client.sendall(b"GET " + path + b" HTTP/1.0\r\n\r\n")
                    return int(client.makefile("rb").read().rpartition(b"\r\n\r\n")[2])

            ticks = 0

            def timers_go_on():
                nonlocal ticks
                before = ticks
                host.wait_until(lambda: ask() > before, "a tick of the timer")
                ticks = ask()

            self.assert_echoes(address, timers_go_on, clients=6, size=4 << 20)
            ask(b"/end")
            self.assert_ends(host)
            self.assertIn(f"received {6 * 4 << 20}\n", host.stdout())

    def test_one_libuv_is_in_the_process(self):
        needed = run("readelf", "-d", GRAFT)
        self.assertNotIn("libuv", needed)
        with self.node("ready(onloop.echo(listen, () => {}));") as host:
            host.address("libuv")
            self.assertLessEqual(len(host.mapped("libuv.so")), 1, host.mapped("libuv"))

    def test_ticks_and_microtasks_run_after_each_batch(self):
        """The client waits for them before it sends more. The callback's own asynchronous context is what tells a
        callback scope from being called bare, where Node gets to them at times by chance."""
        with self.node("""
                const {createHook, executionAsyncId} = require('async_hooks');
                let own;
                createHook({init(id, type) { if (type === 'onloop') own = id; }}).enable();
                const service = onloop.echo(listen, (bytes) => {
                  console.log('data', bytes.toString(), executionAsyncId() === own);
                  process.nextTick(() => console.log('tick'));
                  Promise.resolve().then(() => console.log('promise')).then(() => console.log('chained'));
                  queueMicrotask(() => console.log('microtask'));
                });
                ready(service);
                """) as host:
            expected = ""
            with connect(host.address("libuv")) as client:
                for message in ("a", "b", "c"):
                    client.sendall(message.encode())
                    expected += f"data {message} true\ntick\npromise\nmicrotask\nchained\n"
                    host.wait_until(lambda: len(host.stdout()) >= len(expected), "the microtasks")
                    self.assertEqual(host.stdout(), expected)

    def test_a_client_of_node_and_the_guest_in_one_process(self):
        with self.node("""
                const net = require('net');
                const crypto = require('crypto');
                const sent = crypto.randomBytes(8 << 20);
                const received = [];
                let seen = 0;
                const service = onloop.echo(listen, (bytes) => { seen += bytes.length; });
                const [host, port] = service.address.split(':');
                let ticks = 0;
                const timer = setInterval(() => ++ticks, 0);
                const client = net.connect({host, port, allowHalfOpen: true}, () => client.end(sent));
                client.on('data', (bytes) => received.push(bytes));
                client.on('end', () => {
                  console.log(Buffer.concat(received).equals(sent), seen === sent.length, ticks > 0);
                  clearInterval(timer);
                  service.close();
                });
                """) as host:
            self.assert_ends(host)
            self.assertEqual(host.stdout(), "true true true\n")

    def test_close_lets_node_end(self):
        for where in ("outside", "in a callback"):
            with self.subTest(where=where), self.node("""
                    const service = onloop.echo(listen, (bytes) => {
                      if (bytes.toString() === 'now') service.close();
                      if (bytes.toString() === 'later') setImmediate(() => service.close());
                    });
                    process.on('exit', () => { service.close(); console.log('end'); });
                    ready(service);
                    """) as host:
                with connect(host.address("libuv")) as client:
                    client.sendall(b"now" if where == "in a callback" else b"later")
                    answer = client.makefile("rb").read()
                    self.assertEqual(answer, b"now" if where == "in a callback" else b"later")
                self.assert_ends(host)
                self.assertEqual(host.stdout(), "end\n")

    def test_an_open_service_keeps_node_until_unref(self):
        with self.node("""
                const service = onloop.echo(listen, () => service.unref());
                ready(service);
                """) as host:
            with connect(host.address("libuv")) as client:
                self.assertIsNone(host.process.poll())
                client.sendall(b"x")
                self.assertEqual(client.recv(1), b"x")
                self.assert_ends(host)

    def test_what_a_callback_throws_is_an_uncaught_exception(self):
        with self.node("""
                process.on('uncaughtException', (error) => console.log('caught', error.message));
                ready(onloop.echo(listen, (bytes) => { throw new Error(bytes.toString()); }));
                """) as host:
            with connect(host.address("libuv")) as client:
                for message in ("one", "two"):
                    client.sendall(message.encode())
                    self.assertEqual(client.recv(3, socket.MSG_WAITALL), message.encode())
                    host.wait_for_output(f"caught {message}\n")
        with self.node("ready(onloop.echo(listen, () => { throw new Error('not expected'); }));") as host:
            with connect(host.address("libuv")) as client:
                client.sendall(b"x")
                self.assert_ends(host, 1)
                self.assertIn("Error: not expected", host.stderr())

    def test_mistakes_are_exceptions(self):
        with self.node("""
                const tried = [['nowhere', () => {}], [listen], [1, () => {}], ['unix:/nonexistent/x', () => {}]];
                for (const [address, callback] of tried) {
                  try { onloop.echo(address, callback); } catch (error) { console.log(error.name, error.message); }
                }
                const service = onloop.echo(listen, () => {});
                try { service.close.call({}); } catch (error) { console.log(error.name, error.message); }
                service.close();
                service.close();
                service.unref();
                """) as host:
            self.assert_ends(host)
            lines = host.stdout().splitlines()
            self.assertEqual(len(lines), 5, lines)
            self.assertRegex(lines[0], "^Error .*nowhere")
            self.assertEqual(lines[1], "TypeError echo takes an address and a function")
            self.assertEqual(lines[2], lines[1])
            self.assertRegex(lines[3], "^Error listen on unix:/nonexistent/x: No such file")
            self.assertEqual(lines[4], "TypeError not a service of onloop")

    def test_services_that_are_over_are_collected(self):
        with self.node("""
                const collected = new Set();
                const registry = new FinalizationRegistry((index) => collected.add(index));
                for (let index = 0; index < 100; ++index) {
                  const service = onloop.echo(listen, () => service);
                  registry.register(service, index);
                  service.close();
                }
                const look = () => {
                  global.gc();
                  collected.size === 100 ? console.log('all') : setImmediate(look);
                };
                setImmediate(look);
                """, "--expose-gc") as host:
            self.assert_ends(host)
            self.assertEqual(host.stdout(), "all\n")

    def test_a_worker_takes_its_service_with_it(self):
        """Each worker has a loop of its own. Node unloads addons with the worker that loaded them, before the loop has
        called back for its closed handles; this one asks to stay."""
        script = """
                const {Worker} = require('worker_threads');
                const listen = process.env.ONLOOP_GRAFT_LISTEN;
                const source = `
                    const service = require(process.env.ONLOOP_GRAFT).echo(process.env.ONLOOP_GRAFT_LISTEN, () => {});
                    require('worker_threads').parentPort.postMessage(service.address);`;
                const once = (count) => {
                  const worker = new Worker(source, {eval: true});
                  worker.on('message', (address) => {
                    const [host, port] = address.split(':');
                    const client = require('net').connect({host, port}, () => client.write('hello'));
                    client.on('data', (bytes) => {
                      console.log(bytes.toString());
                      worker.terminate();
                    });
                    client.on('error', () => {});
                    client.on('close', () => console.log('closed'));
                  });
                  worker.on('exit', () => { if (count > 1) once(count - 1); });
                };
                once(5);
                """
        with Host("node", "-e", script, env={}) as host:
            self.assert_ends(host)
            self.assertEqual(sorted(host.stdout().split()), sorted(["hello", "closed"] * 5))


if __name__ == "__main__":
    unittest.main()
