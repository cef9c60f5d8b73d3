//! The dashboard and the alerts in `deploy/`, against what a gateway serves that has seen everything: turns, tools,
//! retries, failures, lost events. The names in `telemetry::names` are the judges, and Prometheus itself.

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
use crate::support::deaf_port;
use crate::support::eventually;
use crate::support::provider::Provider;
use crate::support::provider::sse;
use crate::support::provider::status;
use crate::support::soon;
use crate::support::wires::WIRES;

const KEY: (&str, &str) = ("x-api-key", "secret");
/// What the shipped configuration names the gateway.
const JOB: &str = "codex-gateway";

fn deploy(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A query, and where it stands.
#[derive(Debug)]
struct Query {
    place: String,
    expression: String,
    /// Whether a gateway that has seen everything has an answer to it.
    answered: bool,
}

/// The queries of the dashboard, with values for its variables.
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
        // Restarts, and there is none.
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

/// The expressions of the alerts: what follows `expr:`, and the lines that are folded into it.
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

/// What Prometheus calls a metric.
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

/// The series that a metric has, and the labels that each may have.
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

/// Every series that there may be.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    METRICS.iter().flat_map(series).collect()
}

/// The series in Prometheus' text format, with the labels that they have somewhere.
fn exposed(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let sample = line.rsplit_once(' ').unwrap().0;
        let [named] = promql::named(sample).try_into().unwrap();
        found.entry(named.metric).or_default().extend(named.labels);
    }
    found
}

/// A gateway, and whom it asks.
struct Busy {
    gateway: Gateway,
    provider: Provider,
    /// A turn that runs.
    _running: Lines,
    _down: TcpSocket,
}

impl Busy {
    async fn start() -> Self {
        let provider = Provider::start([sse(&[])]).await;
        let config = format!(
            "[gateway]\nevent_log_bytes = 65536\n[gateway.providers.scripted]\nname = \"Scripted\"\n\
             base_url = \"{}/v1\"\nwire_api = \"responses\"\nrequest_max_retries = 1\nstream_max_retries = 0\n",
            provider.address
        );
        // A collector that is down.
        let (down, nobody) = deaf_port();
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

    /// Everything that is counted, once.
    async fn work(&self) {
        self.exec(json!({ "prompt": "run: echo hi" })).await;
        self.exec(json!({ "prompt": "run: exit 3" })).await;
        // Sent again once, and then refused for good.
        let scripted =
            json!({ "prompt": "hello", "model": "scripted", "model_provider": "scripted" });
        self.provider.now(status(503, &json!({ "error": { "message": "busy" } })));
        self.exec(scripted.clone()).await;
        self.provider.now(WIRES[0].text("Hello."));
        self.exec(scripted).await;
        assert_eq!(self.gateway.send("GET", "/nowhere", &[KEY], b"").await.status, 404);
        self.decide().await;
        self.lag().await;
    }

    /// Two turns that ask; one gets its answer.
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
            eventually("the turn asks", || async {
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

    /// A reader that comes too late.
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

/// Whether a program is there; said aloud where it is not, and a failure where services are required.
async fn is_there(program: &str) -> bool {
    let probe = Command::new(program).arg("--version").output().await;
    if probe.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let required = std::env::var_os("GATEWAY_REQUIRE_SERVICES").is_some_and(|set| set == "1");
    assert!(!required, "{program} is not installed: apt-get install prometheus");
    eprintln!("SKIPPED: {program} is not installed: apt-get install prometheus");
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
        // The exporter gives up on the collector after a while.
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
            // What Prometheus knows by itself.
            let own = ["job", "instance"].map(str::to_owned);
            let labels = match named.metric.as_str() {
                "up" => BTreeSet::new(),
                metric => known
                    .get(metric)
                    .unwrap_or_else(|| panic!("{place}: there is no {metric}: {expression}"))
                    .clone(),
            };
            for asked in &named.labels {
                let there = labels.contains(asked) || own.contains(asked);
                assert!(there, "{place}: {} has no {asked}: {expression}", named.metric);
            }
        }
    }
    if is_there("promtool").await {
        lint(&text).await;
    }
}

/// `promtool check metrics`, with what is well-known to be against its taste.
async fn lint(text: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let output = soon("promtool", promtool.wait_with_output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // OpenTelemetry's names of gauges.
    let gauges = [served_as(&names::FILES), served_as(&names::THREADS)];
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| {
            let taste = line.contains("should not have \"_count\" suffix");
            !(taste && gauges.iter().any(|gauge| line.starts_with(gauge.as_str())))
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    // 3 is for complaints.
    assert!([Some(0), Some(3)].contains(&output.status.code()), "{:?}: {said}", output.status);
}

#[tokio::test]
async fn promtool_accepts_queries_and_tests_every_alert() {
    if !is_there("promtool").await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rules: Vec<Value> = dashboard()
        .0
        .iter()
        .enumerate()
        .map(|(n, query)| json!({ "record": format!("panel:{n}"), "expr": query.expression }))
        .collect();
    // JSON is YAML.
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let queries = folder.path().join("queries.yml");
    std::fs::write(&queries, rules.to_string()).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    for (what, file) in [
        ("check", queries),
        ("check", shipped.join("alerts.yml")),
        ("test", shipped.join("alerts_test.yml")),
    ] {
        let output = Command::new("promtool").args([what, "rules"]).arg(file).output().await;
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

/// A Prometheus with the configuration that is shipped, but for where things are.
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

    /// The values that a query has now.
    async fn ask(&self, query: &Query) -> Vec<f64> {
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
    if !is_there("prometheus").await {
        return;
    }
    let busy = Busy::start().await;
    let prometheus = Prometheus::start(&busy.gateway);
    eventually("Prometheus is ready", || prometheus.is_ready()).await;
    let (queries, _) = dashboard();
    let mut open = Vec::new();
    // What is counted for the first time is no increase yet.
    for _ in 0..4 {
        busy.work().await;
        open.clear();
        for query in queries.iter().filter(|query| query.answered) {
            if !prometheus.ask(query).await.iter().any(|value| value.is_finite()) {
                open.push(query);
            }
        }
        if open.is_empty() {
            break;
        }
    }
    assert!(open.is_empty(), "no data: {open:#?}");
    for query in queries.iter().chain(&alerts()) {
        let values = prometheus.ask(query).await;
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
