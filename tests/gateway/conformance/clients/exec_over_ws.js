// One `exec` call over GET /ws with the package `ws`: prints the reply.
const WebSocket = require('ws');

const url = process.env.GATEWAY_URL.replace('http://', 'ws://') + '/ws';
const socket = new WebSocket(url, { headers: { 'X-API-Key': process.env.GATEWAY_KEY } });
socket.on('open', () => {
  const params = { command: 'echo', args: ['hello from node'] };
  socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'exec', params }));
});
socket.on('message', (message) => {
  // Output arrives as notifications before the reply.
  if (!('id' in JSON.parse(message))) return;
  console.log(message.toString());
  socket.close();
});
socket.on('error', (error) => {
  console.error(error);
  process.exit(1);
});
socket.on('close', (code) => process.exit(code === 1000 || code === 1005 ? 0 : 1));
