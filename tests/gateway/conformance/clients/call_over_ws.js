// One call over GET /ws with the package `ws`.
const WebSocket = require('ws');

const url = process.env.GATEWAY_URL.replace('http://', 'ws://') + '/ws';
const socket = new WebSocket(url, { headers: { 'X-API-Key': process.env.GATEWAY_KEY } });
socket.on('open', () => {
  socket.send(JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'conversation.prompt',
    params: { prompt: 'say: hello from node', session_id: 'node-ws' },
  }));
});
socket.on('message', (message) => {
  console.log(message.toString());
  socket.close();
});
socket.on('error', (error) => {
  console.error(error);
  process.exit(1);
});
socket.on('close', (code) => process.exit(code === 1000 || code === 1005 ? 0 : 1));
