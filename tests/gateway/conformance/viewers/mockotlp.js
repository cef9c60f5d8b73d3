// An OTLP receiver (@elastic/mockotlpserver) that prints what it gets, a JSON object a line: first where it
// listens, then the spans, metrics and log records of each request, attributes as plain objects.
const {
    MockOtlpServer,
    normalizeLogs,
    normalizeMetrics,
    normalizeTrace,
} = require('@elastic/mockotlpserver');

// In JSON, what is not there may be null (ProtoJSON); the normalizer takes an empty value for it.
const withoutNull = (key, value) => {
    if (value !== null) return value;
    return ['body', 'value'].includes(key) ? {} : undefined;
};
// (What came as protobuf is of a class of its own, and has no null.)
const clean = (request) =>
    typeof request.constructor.toObject === 'function'
        ? request
        : JSON.parse(JSON.stringify(request), withoutNull);
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const server = new MockOtlpServer({
    logLevel: 'fatal',
    services: ['http', 'grpc'],
    httpHostname: '127.0.0.1',
    httpPort: 0,
    grpcHostname: '127.0.0.1',
    grpcPort: 0,
    onTrace: (trace) => say(normalizeTrace(clean(trace))),
    onMetrics: (metrics) => say(normalizeMetrics(clean(metrics))),
    onLogs: (logs) => say(normalizeLogs(clean(logs))),
});
server.start().then(() => {
    const address = (url) => new URL(url).host;
    say({ http: address(server.httpUrl), grpc: address(server.grpcUrl) });
});
// It lives as long as whoever started it, and until everything is written.
process.stdin.on('end', () => process.stdout.write('', () => process.exit(0))).resume();
