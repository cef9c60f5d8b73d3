// An OTLP receiver (@elastic/mockotlpserver) that prints what it gets, a JSON object a line: first where it
// listens, then the spans, metrics and log records of each request, attributes as plain objects.
const {
    MockOtlpServer,
    normalizeLogs,
    normalizeMetrics,
    normalizeTrace,
} = require('@elastic/mockotlpserver');

const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const server = new MockOtlpServer({
    logLevel: 'fatal',
    services: ['http', 'grpc'],
    httpHostname: '127.0.0.1',
    httpPort: 0,
    grpcHostname: '127.0.0.1',
    grpcPort: 0,
    onTrace: (trace) => say(normalizeTrace(trace)),
    onMetrics: (metrics) => say(normalizeMetrics(metrics)),
    onLogs: (logs) => say(normalizeLogs(logs)),
});
server.start().then(() => {
    const address = (url) => url.replace(/^\w+:\/\//, '').replace(/\/$/, '');
    say({ http: address(server.httpUrl), grpc: address(server.grpcUrl) });
});
// It lives as long as whoever started it.
process.stdin.on('end', () => process.exit(0)).resume();
