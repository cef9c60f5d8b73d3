// An OTLP receiver (@elastic/mockotlpserver) that prints JSON lines: first its addresses, then the spans,
// metrics and log records of each request, with attributes as plain objects.
const {
    MockOtlpServer,
    normalizeLogs,
    normalizeMetrics,
    normalizeTrace,
} = require('@elastic/mockotlpserver');

// In ProtoJSON, absent values may be null; the normalizer expects empty values.
const withoutNull = (key, value) => {
    if (value !== null) return value;
    return ['body', 'value'].includes(key) ? {} : undefined;
};
// Decoded protobuf has its own class, and no null.
const clean = (request) =>
    typeof request.constructor.toObject === 'function'
        ? request
        : JSON.parse(JSON.stringify(request), withoutNull);
const print = (value) => process.stdout.write(JSON.stringify(value) + '\n');
const server = new MockOtlpServer({
    logLevel: 'fatal',
    services: ['http', 'grpc'],
    httpHostname: '127.0.0.1',
    httpPort: 0,
    grpcHostname: '127.0.0.1',
    grpcPort: 0,
    onTrace: (trace) => print(normalizeTrace(clean(trace))),
    onMetrics: (metrics) => print(normalizeMetrics(clean(metrics))),
    onLogs: (logs) => print(normalizeLogs(clean(logs))),
});
server.start().then(() => {
    const address = (url) => new URL(url).host;
    print({ http: address(server.httpUrl), grpc: address(server.grpcUrl) });
});
// Ends with the parent process, after writing everything.
process.stdin.on('end', () => process.stdout.write('', () => process.exit(0))).resume();
