//! The dashboard, alerts and compose file in `deploy/`, against the metrics of a busy gateway
//! (turns, tools, retries, failures, lost events), `telemetry::names` and Prometheus.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use codex_gateway::telemetry::names;
use codex_gateway::telemetry::names::Kind;
use codex_gateway::telemetry::names::METRICS;
use codex_gateway::telemetry::names::Metric;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::process::Child;
use tokio::process::Command;

use super::promql;
use crate::support::Gateway;
use crate::support::client;
use crate::support::client::Lines;
use crate::support::closed_port;
use crate::support::dialects::DIALECTS;
use crate::support::eventually;
use crate::support::provider::Provider;
use crate::support::provider::sse;
use crate::support::provider::status;
use crate::support::services::report_missing;
use crate::support::soon;

const KEY: (&str, &str) = ("x-api-key", "secret");
/// The job of the gateway in the shipped configuration.
const JOB: &str = "codex-gateway";

fn deploy(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A query and its place.
#[derive(Debug)]
struct Query {
    place: String,
    expression: String,
    /// Whether a busy gateway has data for it.
    answered: bool,
}

/// Returns the PromQL queries of the dashboard, with values for its variables, and the TraceQL
/// ones.
fn dashboard() -> (Vec<Query>, Vec<String>) {
    let document: Value =
        serde_json::from_str(&deploy("grafana/dashboards/codex-gateway.json")).unwrap();
    let (mut queries, mut traceql) = (Vec::new(), Vec::new());
    for panel in document["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap().to_owned();
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title}");
        for target in panel["targets"].as_array().unwrap() {
            match target["datasource"]["type"].as_str().unwrap() {
                "prometheus" => {
                    let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
                    assert!(unit.is_some(), "{title} has no unit");
                    let expression = target["expr"].as_str().unwrap().to_owned();
                    queries.push(Query { place: title.clone(), expression, answered: true });
                }
                "tempo" => traceql.push(target["query"].as_str().unwrap().to_owned()),
                "loki" => {}
                other => panic!("{title}: {other}"),
            }
        }
    }
    for annotation in document["annotations"]["list"].as_array().unwrap() {
        let expression = annotation["expr"].as_str().unwrap().to_owned();
        // Restarts, which do not happen here.
        queries.push(Query { place: "annotation".to_owned(), expression, answered: false });
    }
    for variable in document["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else { continue };
        let inside = definition.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (metric, label) = inside.rsplit_once(", ").unwrap();
        let expression = format!("group by ({label}) ({metric})");
        queries.push(Query { place: definition.to_owned(), expression, answered: true });
    }
    for query in &mut queries {
        for (variable, value) in
            [("$__rate_interval", "1m"), ("$__range", "5m"), ("$job", JOB), ("$instance", ".*")]
        {
            query.expression = query.expression.replace(variable, value);
        }
        assert!(!query.expression.contains('$'), "{query:?}");
    }
    assert!(queries.len() > 40 && !traceql.is_empty());
    (queries, traceql)
}

/// Returns the expressions of the alerts: the values of `expr:`, including folded lines.
fn alerts() -> Vec<Query> {
    let text = deploy("prometheus/alerts.yml");
    let mut alerts: Vec<Query> = Vec::new();
    let (mut place, mut folding) = (String::new(), None);
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        if folding.is_some_and(|from| depth > from) {
            let alert = alerts.last_mut().unwrap();
            alert.expression.push_str(line.trim());
            alert.expression.push(' ');
            continue;
        }
        folding = None;
        let line = line.trim_start().trim_start_matches("- ");
        if let Some(name) = line.strip_prefix("alert: ") {
            name.clone_into(&mut place);
        } else if let Some(expression) = line.strip_prefix("expr: ") {
            let folded = expression == ">-";
            folding = folded.then_some(depth);
            let expression = if folded { String::new() } else { expression.to_owned() };
            alerts.push(Query { place: place.clone(), expression, answered: false });
        }
    }
    assert_eq!(alerts.len(), text.matches("- alert:").count());
    assert_eq!(alerts.len(), text.matches("runbook: ").count(), "an alert without a runbook");
    alerts
}

fn label(key: &str) -> String {
    key.replace('.', "_")
}

/// Returns the Prometheus name of a metric.
fn served_as(metric: &Metric) -> String {
    let unit = match metric.unit {
        "s" => "_seconds",
        "By" => "_bytes",
        unit => {
            assert!(unit.is_empty() || unit.starts_with('{'), "{metric:?}");
            ""
        }
    };
    let total = if metric.kind == Kind::Counter { "_total" } else { "" };
    format!("{}{unit}{total}", label(metric.name))
}

/// Returns the series of a metric and the labels of each.
fn series(metric: &Metric) -> Vec<(String, BTreeSet<String>)> {
    let name = served_as(metric);
    let mut labels: BTreeSet<String> = metric.labels.iter().map(|key| label(key)).collect();
    match metric.kind {
        Kind::Counter | Kind::Gauge => vec![(name, labels)],
        Kind::Histogram => {
            let plain = ["sum", "count"].map(|end| (format!("{name}_{end}"), labels.clone()));
            labels.insert("le".to_owned());
            plain.into_iter().chain([(format!("{name}_bucket"), labels)]).collect()
        }
    }
}

/// Returns every declared series.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    METRICS.iter().flat_map(series).collect()
}

/// Returns the series in Prometheus' text format, with the labels of all their samples.
fn exposed(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let sample = line.rsplit_once(' ').unwrap().0;
        let [named] = promql::named(sample).try_into().unwrap();
        found.entry(named.metric).or_default().extend(named.labels);
    }
    found
}

/// A gateway with one running turn, its provider, and a collector that is down.
struct Busy {
    gateway: Gateway,
    provider: Provider,
    _running: Lines,
    _down: TcpSocket,
}

impl Busy {
    async fn start() -> Self {
        let provider = Provider::start([sse(&[])]).await;
        let config = format!(
            "[gateway]\nevent_log_bytes = 65536\nallow_approvals = true\n[gateway.providers.scripted]\nname = \"Scripted\"\n\
             base_url = \"{}/v1\"\nwire_api = \"responses\"\nrequest_max_retries = 1\nstream_max_retries = 0\n",
            provider.address
        );
        let (down, nobody) = closed_port();
        let gateway = Gateway::config(&config)
            .env("GATEWAY_API_KEY", KEY.1)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{nobody}"))
            .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
            .env("OTEL_BLRP_SCHEDULE_DELAY", "200")
            .start();
        let running = gateway.stream("/exec", &[KEY], json!({ "prompt": "slow: 3000" })).await;
        Self { gateway, provider, _running: running, _down: down }
    }

    async fn exec(&self, body: Value) -> Vec<Value> {
        self.gateway.stream("/exec", &[KEY], body).await.events().await
    }

    async fn get(&self, path: &str) -> Value {
        self.gateway.send("GET", path, &[KEY], b"").await.json()
    }

    async fn scrape(&self) -> String {
        let reply = self.gateway.send("GET", "/metrics", &[KEY], b"").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.header("content-type").starts_with("text/plain"), "{:?}", reply.headers);
        reply.text()
    }

    /// Does everything that is counted, once.
    async fn work(&self) {
        self.exec(json!({ "prompt": "run: echo hi" })).await;
        self.exec(json!({ "prompt": "run: exit 3" })).await;
        // Retried once, then failed.
        let scripted =
            json!({ "prompt": "hello", "model": "scripted", "model_provider": "scripted" });
        self.provider.respond_with(status(503, &json!({ "error": { "message": "busy" } })));
        self.exec(scripted.clone()).await;
        self.provider.respond_with(DIALECTS[0].text("Hello."));
        self.exec(scripted).await;
        assert_eq!(self.gateway.send("GET", "/nowhere", &[KEY], b"").await.status, 404);
        self.decide().await;
        self.lag().await;
    }

    /// Runs two turns that wait for an approval, and approves one.
    async fn decide(&self) {
        let body = json!({ "prompt": "run: touch made", "approval_policy": "untrusted" });
        let mut paths = Vec::new();
        let mut streams = Vec::new();
        for _ in 0..2 {
            let stream = self.gateway.stream("/exec", &[KEY], body.clone()).await;
            let id = stream.headers["x-conversation-id"].to_str().unwrap();
            paths.push(format!("/api/v1/conversations/{id}"));
            streams.push(stream);
        }
        for path in &paths {
            eventually("the turn waits for an approval", || async {
                self.get(path).await["status"] == "waiting_approval"
            })
            .await;
        }
        let pending = self.get(&format!("{}/approvals", paths[0])).await;
        let id = pending["approvals"][0]["approval_id"].as_str().unwrap();
        let path = format!("{}/approvals/{id}", paths[0]);
        self.gateway.post_with(&path, &[KEY], json!({ "decision": "approved" })).await;
        streams.swap_remove(0).events().await;
    }

    /// Reads a stream too late.
    async fn lag(&self) {
        let body = json!({ "prompt": "deltas: 60000" });
        let mut slow = self.gateway.stream("/exec", &[KEY], body).await;
        let first = slow.until("task_started").await;
        let path = format!("/api/v1/conversations/{}", first["conversation_id"].as_str().unwrap());
        eventually("the turn ends", || async { self.get(&path).await["status"] == "idle" }).await;
        let events = slow.events().await;
        assert!(events.iter().any(|event| event["msg"]["type"] == "gateway_lagged"));
    }
}

/// Whether a program is installed.
async fn is_installed(program: &str) -> bool {
    let probe = Command::new(program).arg("--version").output().await;
    if probe.is_ok_and(|output| output.status.success()) {
        return true;
    }
    report_missing(&format!("{program} is not installed: apt-get install prometheus"));
    false
}

#[tokio::test]
async fn gateway_serves_every_metric_the_dashboard_queries() {
    let busy = Busy::start().await;
    busy.work().await;
    let unauthorized = busy.gateway.get("/metrics").await;
    assert_eq!(unauthorized.status, 401);

    let known = known();
    let mut missing = Vec::new();
    for _ in 0..40 {
        let exposed = exposed(&busy.scrape().await);
        missing = known.keys().filter(|name| !exposed.contains_key(*name)).collect();
        if missing.is_empty() {
            break;
        }
        // The metric of failed exports appears once the exporter gives up on the collector.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert!(missing.is_empty(), "named but not served: {missing:?}");
    let text = busy.scrape().await;
    for (name, labels) in exposed(&text) {
        if name == "target_info" {
            continue;
        }
        let allowed = known.get(&name).unwrap_or_else(|| panic!("{name} is served but not named"));
        assert!(labels.is_subset(allowed), "{name} has {labels:?}, not {allowed:?}");
    }

    let (queries, _) = dashboard();
    for Query { place, expression, .. } in queries.iter().chain(&alerts()) {
        for named in promql::named(expression) {
            // Labels of Prometheus itself.
            let own = ["job", "instance"].map(str::to_owned);
            let labels = match named.metric.as_str() {
                "up" => BTreeSet::new(),
                metric => known
                    .get(metric)
                    .unwrap_or_else(|| panic!("{place}: there is no {metric}: {expression}"))
                    .clone(),
            };
            for label in &named.labels {
                let known_label = labels.contains(label) || own.contains(label);
                assert!(known_label, "{place}: {} has no {label}: {expression}", named.metric);
            }
        }
    }
    if is_installed("promtool").await {
        lint(&text).await;
    }
}

/// Runs `promtool check metrics`, with known exceptions.
async fn lint(text: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let output = soon("promtool", promtool.wait_with_output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // Names of OpenTelemetry's conventions.
    let gauges = [served_as(&names::FILES), served_as(&names::THREADS)];
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| {
            let taste = line.contains("should not have \"_count\" suffix");
            !(taste && gauges.iter().any(|gauge| line.starts_with(gauge.as_str())))
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    // 3 reports lint findings.
    assert!([Some(0), Some(3)].contains(&output.status.code()), "{:?}: {said}", output.status);
}

#[tokio::test]
async fn promtool_accepts_queries_and_tests_every_alert() {
    if !is_installed("promtool").await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rules: Vec<Value> = dashboard()
        .0
        .iter()
        .enumerate()
        .map(|(n, query)| json!({ "record": format!("panel:{n}"), "expr": query.expression }))
        .collect();
    // JSON is valid YAML.
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let queries = folder.path().join("queries.yml");
    std::fs::write(&queries, rules.to_string()).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    for (action, file) in [
        ("check", queries),
        ("check", shipped.join("alerts.yml")),
        ("test", shipped.join("alerts_test.yml")),
    ] {
        let output = Command::new("promtool").args([action, "rules"]).arg(file).output().await;
        let output = output.unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
    let tested = deploy("prometheus/alerts_test.yml");
    for alert in alerts() {
        assert!(tested.contains(&format!("alertname=\"{}\"", alert.place)), "{}", alert.place);
    }
}

#[test]
fn trace_queries_use_declared_attributes() {
    let attributes: BTreeSet<&str> = include_str!("../../../src/telemetry/names.rs")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const ")?.split_once(": &str = \""))
        .map(|(_, value)| value.trim_end_matches("\";"))
        .collect();
    let (_, queries) = dashboard();
    for query in queries {
        let words =
            query.split(|letter: char| !(letter.is_alphanumeric() || "._".contains(letter)));
        for attribute in words.filter_map(|word| word.strip_prefix("span.")) {
            assert!(attributes.contains(attribute), "{attribute}: {query}");
        }
    }
}

/// A Prometheus with the shipped configuration, except for addresses and paths.
struct Prometheus {
    address: std::net::SocketAddr,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(gateway: &Gateway) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, KEY.1).unwrap();
        let mut config = deploy("prometheus/prometheus.yml");
        for (shipped, here) in [
            ("15s", "1s"),
            ("/run/secrets/gateway_key", key.to_str().unwrap()),
            ("gateway:8080", &gateway.address.to_string()),
        ] {
            assert!(config.contains(shipped), "{shipped}");
            config = config.replace(shipped, here);
        }
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        std::fs::write(folder.path().join("alerts.yml"), deploy("prometheus/alerts.yml")).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { address, _process: process, _folder: folder }
    }

    async fn is_ready(&self) -> bool {
        let Ok(socket) = tokio::net::TcpStream::connect(self.address).await else { return false };
        drop(socket);
        client::request(self.address, "GET", "/-/ready", &[], Vec::new()).await.status == 200
    }

    /// Returns the current values of a query.
    async fn query(&self, query: &Query) -> Vec<f64> {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let encode =
            |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
        let body = format!("query={}", encode(&query.expression)).into_bytes();
        let reply = client::request(self.address, "POST", "/api/v1/query", &form, body).await;
        let answer = reply.json();
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        let result = answer["data"]["result"].as_array().unwrap();
        result.iter().map(|one| one["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }
}

#[tokio::test]
async fn prometheus_answers_every_dashboard_query() {
    if !is_installed("prometheus").await {
        return;
    }
    let busy = Busy::start().await;
    let prometheus = Prometheus::start(&busy.gateway);
    eventually("Prometheus is ready", || prometheus.is_ready()).await;
    let (queries, _) = dashboard();
    let mut open = Vec::new();
    // A first value is no increase yet.
    for _ in 0..4 {
        busy.work().await;
        open.clear();
        for query in queries.iter().filter(|query| query.answered) {
            if !prometheus.query(query).await.iter().any(|value| value.is_finite()) {
                open.push(query);
            }
        }
        if open.is_empty() {
            break;
        }
    }
    assert!(open.is_empty(), "no data: {open:#?}");
    for query in queries.iter().chain(&alerts()) {
        let values = prometheus.query(query).await;
        let off = ["GatewayDown", "GatewayRestarting", "MemoryHigh", "annotation"];
        assert!(!off.contains(&query.place.as_str()) || values.is_empty(), "{query:?}: {values:?}");
    }
    let rules = client::request(prometheus.address, "GET", "/api/v1/rules", &[], Vec::new()).await;
    let rules = rules.json();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), alerts().len());
    assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:#?}");
}

#[test]
fn compose_pins_images_and_matches_alert_limits() {
    let compose = deploy("compose.yaml");
    for line in compose.lines().filter_map(|line| line.trim().strip_prefix("image: ")) {
        let pinned = line.split_once(':').is_some_and(|(_, tag)| tag.contains('.'));
        assert!(pinned || line == "codex-gateway", "{line}");
    }
    let alerts = deploy("prometheus/alerts.yml");
    assert!(compose.contains("nofile: 8192") && alerts.contains("0.8 * 8192"));
    assert!(compose.contains("mem_limit: 4g") && alerts.contains("0.8 * 4 * 1024 * 1024 * 1024"));
}
