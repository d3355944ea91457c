'use strict';
// The package `ws` on node: one `send` for each client, as its README shows.

const {WebSocketServer, WebSocket} = require('ws');
const {answerTo} = require('./envelope.js');

const server = new WebSocketServer({host: '127.0.0.1', port: Number(process.argv[2]), backlog: 1024});

server.on('connection', (client, request) => {
  const broadcasts = client.broadcasts = request.url.startsWith('/broadcast');
  client.on('message', (data) => {
    const text = JSON.stringify(answerTo(JSON.parse(data)));
    if (broadcasts) sendToAll(text);
    else client.send(text);
  });
});

function sendToAll(text) {
  for (const client of server.clients) {
    if (client.broadcasts && client.readyState === WebSocket.OPEN) client.send(text);
  }
}
