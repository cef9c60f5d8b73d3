// Prompt, status and cancel over POST /jsonrpc with fetch.
async function call(method, params) {
  const answer = await fetch(process.env.GATEWAY_URL + '/jsonrpc', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: 'Bearer ' + process.env.GATEWAY_KEY },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
}

(async () => {
  const session_id = 'node-http';
  console.log(JSON.stringify(await call('conversation.prompt', { prompt: 'say: hello from node', session_id })));
  console.log(JSON.stringify(await call('conversation.status', { session_id })));
  console.log(JSON.stringify(await call('conversation.cancel', { session_id })));
  console.log(JSON.stringify(await call('conversation.status', { session_id: 'nobody' })));
})();
