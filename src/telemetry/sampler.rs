//! [`RootSampler`]: applies `OTEL_TRACES_SAMPLER`, and drops traces whose root span is core's. Core
//! creates such spans for internal work, such as starting a conversation or warming up a
//! connection.

use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::Link;
use opentelemetry::trace::SamplingDecision;
use opentelemetry::trace::SamplingResult;
use opentelemetry::trace::SpanKind;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::trace::TraceId;
use opentelemetry_sdk::trace::Sampler;
use opentelemetry_sdk::trace::ShouldSample;

/// The name prefixes of gateway spans that may be roots although they are not requests.
const ROOTS: [&str; 2] = ["invoke_agent ", "chat "];

/// The sampler of the process.
#[derive(Debug, Clone)]
pub(super) struct RootSampler(Sampler);

impl RootSampler {
    /// Applies `sampler` to spans that may be roots, and to their descendants.
    pub(super) fn new(sampler: Sampler) -> Self {
        Self(sampler)
    }

    /// Records nothing, because nothing is exported. Incoming trace context still propagates.
    pub(super) fn off() -> Self {
        Self(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
    }
}

impl ShouldSample for RootSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent_span = parent.filter(|parent| parent.has_active_span());
        let sampled = match parent_span.map(|parent| parent.span().span_context().clone()) {
            None => *kind == SpanKind::Server || ROOTS.iter().any(|root| name.starts_with(root)),
            Some(span) => span.is_remote() || span.is_sampled(),
        };
        if sampled {
            return self.0.should_sample(parent, trace_id, name, kind, attributes, links);
        }
        let state = parent_span.map(|parent| parent.span().span_context().trace_state().clone());
        SamplingResult {
            decision: SamplingDecision::Drop,
            attributes: Vec::new(),
            trace_state: state.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::SpanContext;
    use opentelemetry::trace::SpanId;
    use opentelemetry::trace::TraceFlags;
    use opentelemetry::trace::TraceState;

    use super::*;

    fn decision(above: Option<(bool, bool)>, name: &str, kind: SpanKind) -> SamplingDecision {
        let above = above.map(|(remote, sampled)| {
            let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
            let (trace, span) = (TraceId::from(1), SpanId::from(1));
            let span = SpanContext::new(trace, span, flags, remote, TraceState::default());
            Context::new().with_remote_span_context(span)
        });
        let sampler = RootSampler(Sampler::AlwaysOn);
        sampler.should_sample(above.as_ref(), TraceId::from(1), name, &kind, &[], &[]).decision
    }

    #[test]
    fn core_never_starts_a_trace() {
        use SamplingDecision::Drop;
        use SamplingDecision::RecordAndSample;
        for (above, name, kind, expected) in [
            (None, "POST /exec", SpanKind::Server, RecordAndSample),
            (None, "invoke_agent codex", SpanKind::Internal, RecordAndSample),
            (None, "chat demo", SpanKind::Client, RecordAndSample),
            (None, "plugins_for_config", SpanKind::Internal, Drop),
            (Some((false, true)), "session_task.turn", SpanKind::Internal, RecordAndSample),
            (Some((false, false)), "agents_md.refresh", SpanKind::Internal, Drop),
            (Some((true, false)), "POST /exec", SpanKind::Server, RecordAndSample),
        ] {
            assert_eq!(decision(above, name, kind), expected, "{above:?} {name}");
        }
    }
}
