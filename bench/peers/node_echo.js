#!/usr/bin/env node
// Node's net streams: what comes is written; reading pauses while what wasn't taken waits.
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
