//! The OpenTelemetry resource: service, version, host, container and cloud platform.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;

use super::environment::Environment;

/// Detects the resource. `OTEL_RESOURCE_ATTRIBUTES` overrides what is detected, and
/// `OTEL_SERVICE_NAME` overrides both.
pub(super) fn detect(environment: &Environment) -> Resource {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let detected = attributes(&env, &container_id());
    let mut resource = Resource::builder_empty()
        .with_attributes(detected.into_iter().map(|(key, value)| KeyValue::new(key, value)))
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(parse(&env("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default()));
    if let Some(name) = &environment.service_name {
        resource = resource.with_service_name(name.clone());
    }
    resource.build()
}

/// Parses `key=value,…` and decodes percent-encoding ("Resource SDK" of the specification), which
/// the SDK's own parser does not.
fn parse(list: &str) -> Vec<KeyValue> {
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text.trim()).decode_utf8_lossy().into_owned()
    };
    let pairs = list.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| KeyValue::new(decode(key), decode(value))).collect()
}

fn attributes(
    env: &dyn Fn(&str) -> Option<String>,
    container: &Option<String>,
) -> Vec<(&'static str, String)> {
    let mut found = vec![
        ("service.name", "codex-gateway".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", uuid::Uuid::new_v4().to_string()),
        ("process.pid", std::process::id().to_string()),
        ("os.type", std::env::consts::OS.to_owned()),
    ];
    let mut from = |key: &'static str, name: &str| {
        found.extend(env(name).map(|value| (key, value)));
    };
    from("host.name", "HOSTNAME");
    if env("K_SERVICE").is_some() {
        from("faas.name", "K_SERVICE");
        from("faas.version", "K_REVISION");
        from("gcp.cloud_run.service.configuration", "K_CONFIGURATION");
        from("cloud.account.id", "GOOGLE_CLOUD_PROJECT");
        found.push(("cloud.provider", "gcp".to_owned()));
        found.push(("cloud.platform", "gcp_cloud_run".to_owned()));
    } else if env("CONTAINER_APP_NAME").is_some() {
        from("faas.name", "CONTAINER_APP_NAME");
        from("faas.version", "CONTAINER_APP_REVISION");
        from("faas.instance", "CONTAINER_APP_REPLICA_NAME");
        found.push(("cloud.provider", "azure".to_owned()));
        found.push(("cloud.platform", "azure_container_apps".to_owned()));
    } else if env("KUBERNETES_SERVICE_HOST").is_some() {
        from("k8s.pod.name", "HOSTNAME");
    }
    found.extend(container.clone().map(|id| ("container.id", id)));
    found
}

/// Returns the container id, 64 hexadecimal digits, if the control groups or mounts of the process
/// contain one.
fn container_id() -> Option<String> {
    ["/proc/self/cgroup", "/proc/self/mountinfo"].iter().find_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        find_container_id(&text)
    })
}

fn find_container_id(text: &str) -> Option<String> {
    let mut words = text.split(|symbol: char| !symbol.is_ascii_alphanumeric());
    let is_id = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    words.find(is_id).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloud_run_is_detected_by_its_variables() {
        let env = |name: &str| match name {
            "K_SERVICE" => Some("agents".to_owned()),
            "K_REVISION" => Some("agents-00007".to_owned()),
            _ => None,
        };
        let found = attributes(&env, &None);
        for (key, expected) in [
            ("service.name", "codex-gateway"),
            ("faas.name", "agents"),
            ("faas.version", "agents-00007"),
            ("cloud.platform", "gcp_cloud_run"),
        ] {
            let value = found.iter().find(|(name, _)| *name == key).map(|(_, value)| &**value);
            assert_eq!(value, Some(expected), "{key}");
        }
    }

    #[test]
    fn container_is_detected_by_its_control_group() {
        let id = "0123456789abcdef".repeat(4);
        let cgroup = format!("0::/system.slice/docker-{id}.scope\n");
        assert_eq!(find_container_id(&cgroup), Some(id));
        assert_eq!(find_container_id("0::/init.scope\n"), None);
    }
}
