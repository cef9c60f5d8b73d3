//! Responses over WebSocket, as core speaks it: `response.create` messages in, events of a
//! Responses stream out, one a message. Core keeps one connection per conversation, within this
//! process.
//!
//! After its first call core sends only new input, with `previous_response_id`; the connection
//! remembers the history. A call with `generate: false` is a warm-up: its input is remembered, and
//! no model is called.

use codex_gateway_engine::model_socket::Socket;
use futures::StreamExt;
use serde_json::json;
use wires::item::Item;

use super::backend::Backend;
use super::call::ModelCall;
use super::event::Answer;
use super::event::Event;
use super::event::Kind;
use super::event::response_id;
use super::in_flight::InFlight;
use super::provenance::Provenance;
use super::request::ModelRequest;

/// The history of a conversation, as far as the connection has seen it.
#[derive(Debug, Default)]
struct InputHistory {
    /// The id of the last response.
    response_id: String,
    /// All input up to it, and its output.
    items: Vec<Item>,
    /// The makers of the items.
    provenance: Provenance,
}

impl InputHistory {
    /// Completes an incremental request with the history.
    fn complete(&mut self, request: &mut ModelRequest) -> Result<(), Event> {
        let new = std::mem::take(request.input_mut());
        match request.take::<String>("previous_response_id") {
            Some(id) if id == self.response_id => self.items.extend(new),
            Some(id) => {
                let message = format!("the response {id} is not known on this connection");
                return Err(Event::rejected(400, "previous_response_not_found", &message));
            }
            None => self.items = new,
        }
        request.input_mut().clone_from(&self.items);
        Ok(())
    }

    /// Records the output of the model.
    fn record(&mut self, event: &Event) {
        match event.kind() {
            Kind::ItemDone(item) => self.items.push(item.clone()),
            Kind::Completed(completed) => self.response_id.clone_from(&completed.id),
            Kind::Announcement
            | Kind::Delta
            | Kind::Failed(_)
            | Kind::Rejected(_)
            | Kind::Other => {}
        }
    }
}

/// Serves one connection until core closes it.
pub(super) async fn serve(socket: Socket, backend: Backend, in_flight: InFlight) {
    let Socket { mut received, sent } = socket;
    // The most events that core receives at a time, if as many are ready.
    let most = sent.max_capacity();
    let mut history = InputHistory::default();
    // Core sends its next call right after the last event of an answer, whose stream may not have
    // ended yet.
    let mut early = None;
    loop {
        let text = match early.take() {
            Some(text) => text,
            None => match received.recv().await {
                Some(text) => text,
                None => return,
            },
        };
        let mut bursts = start_call(&text, &mut history, &backend, &in_flight).ready_chunks(most);
        drop(text);
        let mut answered = false;
        loop {
            let burst = tokio::select! {
                burst = bursts.next() => burst,
                text = received.recv() => match text {
                    Some(text) if answered => {
                        early = Some(text);
                        break;
                    }
                    // Core sends nothing during an answer, but it may leave.
                    Some(_) | None => return,
                },
            };
            // Over HTTP the end of the body would end the call; here core would wait for its
            // timeout.
            let burst = match burst {
                Some(burst) => burst,
                None if answered => break,
                None => vec![truncated()],
            };
            let Ok(permits) = sent.reserve_many(burst.len()).await else { return };
            for (event, permit) in burst.into_iter().zip(permits) {
                history.record(&event);
                answered |= event.is_last();
                permit.send(event.into_json().into());
            }
        }
    }
}

/// Reads a message of core's and starts its call.
fn start_call(
    text: &str,
    history: &mut InputHistory,
    backend: &Backend,
    in_flight: &InFlight,
) -> Answer {
    let invalid = |message: &str| only(Event::rejected(400, "invalid_request", message));
    let mut request = match ModelRequest::parse(text.as_bytes()) {
        Ok(request) => request,
        Err(error) => return invalid(&error.to_string()),
    };
    if request.take::<String>("type").as_deref() != Some("response.create") {
        return invalid("expected a message of type response.create");
    }
    let generate = request.take::<bool>("generate").unwrap_or(true);
    if let Err(rejection) = history.complete(&mut request) {
        return only(rejection);
    }
    if !generate {
        let id = response_id();
        let events = [Event::created(&id), Event::completed(&id, None)];
        return Box::pin(futures::stream::iter(events));
    }
    let mut call = ModelCall::new(request);
    call.provenance = history.provenance.clone();
    call.trace = in_flight.trace_of(&call);
    let Some(conversation_id) = call.conversation_id.clone() else { return backend.answer(call) };
    let guard = in_flight.begin(&conversation_id);
    let answer = backend.answer(call).take_until(guard.token().clone().cancelled_owned());
    // A last event, so that core releases the connection.
    let last = futures::stream::once(async move {
        let cancelled = guard.token().is_cancelled();
        cancelled.then(|| Event::rejected(499, "cancelled", "the turn was interrupted"))
    });
    Box::pin(answer.chain(last.filter_map(std::future::ready)))
}

fn only(event: Event) -> Answer {
    Box::pin(futures::stream::iter([event]))
}

/// The last event of an answer that broke off without one.
fn truncated() -> Event {
    let message = "the stream ended before response.completed";
    Event::failed(None, json!({ "code": "stream_cut", "message": message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incremental_input_is_completed() {
        let request = |json: &str| ModelRequest::parse(json.as_bytes()).unwrap();
        let mut history = InputHistory::default();
        let mut first = request(r#"{"model":"m","input":[1,2]}"#);
        history.complete(&mut first).unwrap();
        assert_eq!(first.to_json(), r#"{"model":"m","input":[1,2]}"#);
        history.record(&Event::item_done(0, &json!(3)));
        history.record(&Event::completed("r1", None));
        let mut second = request(r#"{"model":"m","previous_response_id":"r1","input":[4]}"#);
        history.complete(&mut second).unwrap();
        assert_eq!(second.to_json(), r#"{"model":"m","input":[1,2,3,4]}"#);

        let mut unknown = request(r#"{"previous_response_id":"r0","input":[5]}"#);
        assert!(history.complete(&mut unknown).unwrap_err().json().contains("r0"));
        let mut fresh = request(r#"{"model":"m","previous_response_id":null,"input":[6]}"#);
        history.complete(&mut fresh).unwrap();
        assert_eq!(fresh.to_json(), r#"{"model":"m","input":[6]}"#);
    }
}
