#!/usr/bin/env node
// Node's net streams. What comes is written back. Reading pauses while some of it waits to be written.
'use strict';

const net = require('node:net');

const server = net.createServer({noDelay: true}, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.pipe(socket);
});

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));

server.listen({host: '127.0.0.1', port: Number(process.argv[2] ?? 0), backlog: 4096}, () => {
  process.stdout.write(`listening on 127.0.0.1:${server.address().port}\n`);
});
