//! Resolves files and environments.

use std::path::Path;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Config;
use super::Overrides;
use super::file::gateway_table;
use crate::bridge::api::Api;
use crate::bridge::provider::ProviderConfig;
use crate::bridge::provider::ResolveContext;
use crate::proxy::upstream::Upstream;
use crate::shutdown::Shutdown;
use crate::web::connections::Connections;

fn load(file: &str, env: &[(&str, &str)]) -> anyhow::Result<Config> {
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("config.toml"), file)?;
    let env: std::collections::HashMap<String, String> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::resolve(&Overrides::default(), &|name| env.get(name).cloned(), home.path().into())
}

/// Parses `config.toml.example` with its commented-out keys enabled.
fn example() -> toml::Table {
    let example = include_str!("../../config.toml.example");
    // A commented-out key is `#key = value`, a sentence is `# Sentence`.
    let all: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key)
                if key.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') =>
            {
                key
            }
            _ => line,
        })
        .fold(String::new(), |text, line| text + line + "\n");
    all.parse().unwrap()
}

#[test]
fn example_has_every_key_with_its_default() {
    let document = example();
    let table = gateway_table(&document, Path::new("config.toml.example")).unwrap();
    let written = serde_json::to_value(&table).unwrap();
    for (key, value) in written.as_object().unwrap() {
        let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        assert!(!empty, "config.toml.example lacks gateway.{key}");
    }

    let mut gateway = document["gateway"].as_table().unwrap().clone();
    gateway.remove("providers");
    gateway.remove("models");
    let shown = toml::Table::from_iter([("gateway".to_owned(), gateway.into())]);
    let (shown, default) = (load(&shown.to_string(), &[]).unwrap(), load("", &[]).unwrap());
    assert_eq!(shown.host, default.host);
    assert_eq!(shown.port, default.port);
    assert_eq!(shown.workspace_root.file_name(), default.workspace_root.file_name());
    assert_eq!(format!("{:?}", shown.server), format!("{:?}", default.server));
    assert_eq!(format!("{:?}", shown.turns), format!("{:?}", default.turns));
    assert_eq!(shown.allow_danger_full_access, default.allow_danger_full_access);
    assert_eq!(format!("{:?}", shown.terminals), format!("{:?}", default.terminals));
    assert_eq!(shown.proxies.len(), 1);
    assert_eq!(shown.approvals, default.approvals);
    assert_eq!(shown.max_batch_starts, default.max_batch_starts);
    assert_eq!(shown.allow_raw_events, default.allow_raw_events);
    assert_eq!(format!("{:?}", shown.mcp), format!("{:?}", default.mcp));
    assert_eq!(shown.telemetry, default.telemetry);
}

#[test]
fn example_has_every_provider_key_with_its_default() {
    let document = example();
    let mut shown = document["model_providers"]["mine"].as_table().unwrap().clone();
    shown.extend(document["gateway"]["providers"]["mine"].as_table().unwrap().clone());
    for key in ProviderConfig::keys() {
        assert!(shown.contains_key(&key), "config.toml.example lacks {key} of a provider");
    }
    // The file does not exist here.
    shown.remove("ca_file");
    let resolve = |table: &toml::Table| {
        let written: ProviderConfig = table.clone().try_into().unwrap();
        let env = |_: &str| None;
        let surroundings = ResolveContext { env: &env, folder: Path::new("/"), max_retries: None };
        written.resolve("mine", "x", &surroundings).unwrap()
    };
    let default = resolve(&toml::toml! { base_url = "https://models.example/v1" });
    let shown = resolve(&shown);
    for (shown, default) in [
        (shown.max_concurrent, default.max_concurrent),
        (shown.max_waiting, default.max_waiting),
        (shown.retries as usize, default.retries as usize),
    ] {
        assert_eq!(shown, default);
    }
    assert_eq!(
        [shown.idle, shown.connect_timeout, shown.first_byte_timeout],
        [default.idle, default.connect_timeout, default.first_byte_timeout]
    );
    assert_eq!(shown.query, default.query);
    let azure = &load(
        "[gateway.providers.azure]\nbase_url = \"https://x/openai\"\n\
         query_params = { api-version = \"1\" }\nenv_http_headers = { api-key = \"K\" }\n",
        &[("K", "canary")],
    )
    .unwrap()
    .providers[0];
    assert_eq!(azure.headers[0].0, "api-key");
    assert_eq!(
        (azure.headers[0].1.as_bytes(), azure.query.as_str()),
        (&b"canary"[..], "api%2Dversion=1")
    );
}

#[test]
fn environment_overrides_the_file() {
    let config = load("[gateway]\nport = 1\n", &[("PORT", "2")]).unwrap();
    assert_eq!(config.port, 2);
    assert_eq!(load("[gateway]\nport = 1\n", &[]).unwrap().port, 1);
    assert_eq!(load("", &[]).unwrap().port, 8080);
}

#[test]
fn errors_name_the_key_and_the_expectation() {
    for (file, env, expected) in [
        ("[gateway]\nprot = 1\n", &[][..], "unknown field `prot`"),
        ("[gateway]\nport = \"x\"\n", &[], "port"),
        (
            "[gateway]\nbody_limit_bytes = 1\n",
            &[],
            "gateway.body_limit_bytes: expected 1024 to 1073741824, got 1",
        ),
        ("[gateway]\ndefault_timeout_ms = 5\n", &[], "gateway.default_timeout_ms"),
        (
            "[gateway]\nheartbeat_ms = 0\n",
            &[],
            "gateway.heartbeat_ms: expected 1 to 31536000000, got 0",
        ),
        (
            "[gateway]\nmax_connections = 99999999999\n",
            &[],
            "gateway.max_connections: expected 1 to 1000000, got 99999999999",
        ),
        (
            "[gateway]\nkeep_alive_timeout_ms = 9223372036854775807\n",
            &[],
            "gateway.keep_alive_timeout_ms: expected 1 to 31536000000",
        ),
        (
            "[gateway]\ndrain_timeout_ms = 3000\ndrain_delay_ms = 3000\n",
            &[],
            "gateway.drain_delay_ms: expected less than gateway.drain_timeout_ms, 3000, got 3000",
        ),
        ("", &[("GATEWAY_DRAIN_DELAY_MS", "9000")], "GATEWAY_DRAIN_DELAY_MS: expected less than"),
        ("", &[("GATEWAY_DRAIN_DELAY_MS", "3s")], "expected a number of milliseconds, got \"3s\""),
        ("not toml", &[], "expected TOML"),
        ("", &[("PORT", "eighty")], "PORT: expected a port number, 0 to 65535, got \"eighty\""),
        ("", &[("HOST", "0.0.0.0")], "without an API key"),
        ("", &[("GATEWAY_API_KEY", "a=")], "GATEWAY_API_KEY"),
    ] {
        let error = load(file, env).expect_err(file);
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}

/// Calls `visit` with the path of every number in a table.
fn numbers(table: &toml::Table, path: &[&str], visit: &mut impl FnMut(&[&str])) {
    for (key, value) in table {
        let path = [path, &[key.as_str()]].concat();
        match value {
            toml::Value::Integer(_) => visit(&path),
            toml::Value::Table(table) => numbers(table, &path, visit),
            _ => {}
        }
    }
}

/// Builds what is built of a configuration's numbers.
fn build(config: &Config) {
    let Config { server, turns, terminals, proxies, providers, .. } = config;
    let mut durations = vec![
        server.header_timeout + server.keep_alive_timeout,
        server.body_timeout,
        server.drain_delay + server.drain_timeout,
        turns.default_timeout,
        turns.idle,
        turns.heartbeat,
        terminals.idle,
        terminals.lifetime,
    ];
    durations.extend(proxies.iter().map(Upstream::timeout));
    for provider in providers {
        durations.extend([provider.idle, provider.connect_timeout, provider.first_byte_timeout]);
        for permits in [provider.max_concurrent, provider.max_waiting] {
            assert_eq!(Semaphore::new(permits).available_permits(), permits);
        }
    }
    for duration in durations {
        assert!(Instant::now().checked_add(duration).is_some(), "{duration:?}");
    }
    let permits = server.connection_capacity() + terminals.max + turns.max_live + turns.max_queued;
    assert_eq!(Semaphore::new(permits).available_permits(), permits);
    assert!(turns.prestarted <= 1000 && turns.event_log_bytes <= 1 << 30);
    let mut limits = server.clone();
    limits.reduce_connections(1);
    drop(Connections::new(limits, Shutdown::default()));
}

/// Returns the value at a path.
fn at<'a>(document: &'a mut toml::Table, path: &[&str]) -> &'a mut toml::Value {
    let (first, rest) = path.split_first().unwrap();
    rest.iter().fold(&mut document[*first], |value, key| &mut value[*key])
}

#[test]
fn absurd_numbers_are_refused_by_name() {
    let mut document = example();
    // The gateway reads no others.
    document.retain(|key, _| key == "gateway" || key == "model_providers");
    for provider in [&["model_providers", "mine"][..], &["gateway", "providers", "mine"]] {
        // The file does not exist here.
        at(&mut document, provider).as_table_mut().unwrap().remove("ca_file");
    }
    let mut paths: Vec<String> = Vec::new();
    numbers(&document, &[], &mut |path| paths.push(path.join(" ")));
    assert!(paths.len() > 25, "{paths:?}");
    for path in &paths {
        let path: Vec<&str> = path.split(' ').collect();
        for value in ["0", "1", "-1", "1.5", "nan", "9223372036854775807", "18446744073709551615"] {
            let mut file = document.clone();
            *at(&mut file, &path) = "@".into();
            let file = file.to_string().replace("\"@\"", value);
            match load(&file, &[]) {
                Ok(config) => {
                    assert!(["0", "1"].contains(&value), "{path:?} takes {value}");
                    build(&config);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(path.last().unwrap()), "{path:?} = {value}: {error}");
                }
            }
        }
    }
}

#[test]
fn drain_delay_depends_on_the_platform() {
    for (file, env, expected) in [
        ("", &[][..], 0),
        ("", &[("K_SERVICE", "gateway")], 3000),
        ("", &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")], 3000),
        ("", &[("CONTAINER_APP_NAME", "gateway")], 3000),
        ("", &[("GATEWAY_IMAGE", "1")], 3000),
        ("drain_delay_ms = 10", &[("GATEWAY_IMAGE", "1")], 10),
        ("drain_timeout_ms = 1500", &[("K_SERVICE", "gateway")], 500),
        ("drain_delay_ms = 0", &[("K_SERVICE", "gateway")], 0),
        ("drain_delay_ms = 10", &[], 10),
        ("drain_delay_ms = 10", &[("GATEWAY_DRAIN_DELAY_MS", "20")], 20),
    ] {
        let config = load(&format!("[gateway]\n{file}\n"), env).unwrap();
        assert_eq!(config.server.drain_delay.as_millis(), expected, "{file} {env:?}");
    }
}

#[test]
fn several_keys_leave_connections_for_each_other() {
    for (file, keys, expected) in [
        ("", "", 1024),
        ("", "a", 1024),
        ("", "a,b", 768),
        ("max_connections = 1", "a,b", 1),
        ("max_connections = 8", "a,b", 6),
        ("max_connections = 8\nmax_connections_per_key = 2", "a", 2),
    ] {
        let config = load(&format!("[gateway]\n{file}\n"), &[("GATEWAY_API_KEY", keys)]).unwrap();
        assert_eq!(config.server.max_connections_per_key, expected, "{file} {keys}");
    }
}

#[test]
fn demo_model_is_the_last_resort() {
    for (file, env, expected) in [
        ("", &[][..], "no model"),
        ("[gateway]\nport = 1\n", &[], "no model"),
        ("", &[("OPENAI_API_KEY", "sk-x")], "OPENAI_API_KEY is set"),
        (
            "[gateway.providers.openai]\nmax_concurrent = 1\n",
            &[("OPENAI_API_KEY", "sk-x")],
            "OPENAI_API_KEY is set",
        ),
        ("", &[("ANTHROPIC_API_KEY", "sk-x")], "ANTHROPIC_API_KEY is set"),
        ("", &[("OPENAI_API_KEY", " ")], "no model"),
        ("model_provider = \"mine\"\n", &[("OPENAI_API_KEY", "sk-x")], "config.toml"),
        ("", &[("CODEX_API_KEY", "sk-x")], "config.toml"),
    ] {
        let reason = load(file, env).unwrap().model_source.reason();
        assert!(reason.contains(expected), "{file} {env:?}: {reason}");
    }
}

#[test]
fn providers_are_bridged_whatever_their_api() {
    let file = "[model_providers.local]\nbase_url = \"http://127.0.0.1:1/v1\"\nwire_api = \"chat\"\n\
                [model_providers.login]\nbase_url = \"http://x/v1\"\nrequires_openai_auth = true\n";
    let config = load(file, &[("GOOGLE_API_KEY", "k")]).unwrap();
    let ids: Vec<&str> = config.providers.iter().map(|provider| provider.id.as_str()).collect();
    assert_eq!(ids, ["local", "google"]);
    let bad = "[model_providers.x]\nbase_url = \"http://x\"\nwire_api = \"telepathy\"\n";
    let error = format!("{:#}", load(bad, &[]).unwrap_err());
    assert!(error.contains("model_providers.x") && error.contains("chat"), "{error}");
}

#[test]
fn gateway_provider_overrides_key_by_key() {
    let file = "[model_providers.local]\nname = \"Local\"\nbase_url = \"http://a/v1\"\nwire_api = \"chat\"\n\
                request_max_retries = 7\n\
                [gateway.providers.local]\nbase_url = \"http://b/v1\"\nmax_concurrent = 2\n\
                [gateway.providers.alone]\nbase_url = \"https://c/v1\"\nenv_http_headers = { api-key = \"CRED\" }\n\
                [gateway.providers.openai]\nfirst_byte_timeout_ms = 5\n";
    let config = load(file, &[("CRED", "canary"), ("OPENAI_API_KEY", "k")]).unwrap();
    let [local, alone, openai] = &config.providers[..] else { panic!("{:?}", config.providers) };
    assert_eq!((local.base_url.as_str(), local.name.as_str()), ("http://b/v1", "Local"));
    assert_eq!((local.api, local.retries, local.max_concurrent), (Api::Chat, 7, 2));
    assert_eq!((alone.max_concurrent, alone.max_waiting, alone.retries), (64, 1024, 4));
    assert_eq!((alone.connect_timeout.as_millis(), alone.idle.as_millis()), (10_000, 300_000));
    assert_eq!(alone.secrets, ["CRED"]);
    assert_eq!(openai.base_url, "https://api.openai.com/v1");
    assert_eq!(openai.first_byte_timeout.as_millis(), 5);
}

#[test]
fn provider_errors_name_the_key() {
    let base = "base_url = \"http://x\"\n";
    for (table, expected) in [
        ("[gateway.providers.x]\n", "gateway.providers.x: expected a base_url"),
        ("[gateway.providers.x]\nauth = {}\n", "[gateway.providers.x]: unknown key `auth`"),
        ("[gateway.providers.\"a b\"]\n", "expected an id of the characters A-Z"),
        ("[gateway.providers]\nx = 1\n", "[gateway.providers.x]: expected a table"),
        ("[gateway.providers.x]\nmax_concurent = 1\n", "unknown key `max_concurent`, expected"),
        ("[gateway.providers.x]\nmax_concurrent = 0\n", "gateway.providers.x.max_concurrent"),
        ("[gateway.providers.x]\nmax_waiting = -1\n", "max_waiting"),
        (
            "[gateway.providers.x]\nconnect_timeout_ms = 0\n",
            "gateway.providers.x.connect_timeout_ms",
        ),
        (
            "[gateway.providers.x]\nca_file = \"none.pem\"\n",
            "gateway.providers.x.ca_file: cannot read",
        ),
        (
            "[gateway.providers.x]\nca_file = \"config.toml\"\n",
            "contains no certificate in PEM format",
        ),
        ("[gateway.providers.x]\nwire_api = \"telepathy\"\n", "telepathy"),
    ] {
        let with_url = if table.contains('=') && !table.contains("x = 1") { base } else { "" };
        let error = format!("{:#}", load(&format!("{table}{with_url}"), &[]).expect_err(table));
        assert!(error.contains(expected), "{table}: {error}");
    }
}

const PROVIDERS: &str = "[gateway.providers.a]\nbase_url = \"http://a\"\n\
                         [gateway.providers.b]\nbase_url = \"http://b\"\n";

#[test]
fn alias_is_a_provider_and_its_model() {
    let file = format!(
        "model = \"best\"\n{PROVIDERS}[gateway.models]\nfast = \"a/x/y\"\n\
         best = {{ primary = \"b/z\", fallback = [\"a/x/y\"] }}\n"
    );
    let config = load(&file, &[]).unwrap();
    let fast = &config.models.get("fast").unwrap().primary;
    assert_eq!((fast.provider.as_str(), fast.model.as_str()), ("a", "x/y"));
    assert_eq!(config.models.fallbacks("b")["z"][0].to_string(), "a/x/y");
    assert!(config.models.fallbacks("a").is_empty() && config.models.get("z").is_none());
}

#[test]
fn model_errors_name_the_key() {
    for (models, expected) in [
        ("m = \"x\"", "gateway.models.m: expected \"PROVIDER/MODEL\", got \"x\""),
        ("m = \"a/\"", "gateway.models.m: expected"),
        ("m = 5", "gateway.models.m: expected"),
        ("m = { fallback = [] }", "[gateway.models.m]: missing field `primary`"),
        ("m = { primary = \"a/x\", falback = [] }", "unknown field `falback`"),
        ("m = \"nobody/x\"", "gateway.models.m: expected a provider that the gateway calls"),
        ("m = { primary = \"a/x\", fallback = [\"c/x\"] }", "calls (a, b"),
        ("m = { primary = \"a/x\", fallback = [\"a/x\"] }", "got a/x twice"),
        (
            "m = { primary = \"a/x\", fallback = [\"b/x\"] }\n\
             n = { primary = \"a/x\", fallback = [\"b/y\"] }",
            "gateway.models.n.fallback: expected the same list as gateway.models.m",
        ),
    ] {
        let file = format!("{PROVIDERS}[gateway.models]\n{models}\n");
        let error = format!("{:#}", load(&file, &[]).expect_err(models));
        assert!(error.contains(expected), "{models}: {error}");
    }
    let both = format!(
        "model = \"m\"\nmodel_provider = \"b\"\n{PROVIDERS}[gateway.models]\nm = \"a/x\"\n"
    );
    let error = format!("{:#}", load(&both, &[]).unwrap_err());
    assert!(error.contains("model is an alias of a/x, got \"b\""), "{error}");
}
