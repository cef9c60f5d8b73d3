//! Responses over WebSocket, as core speaks it: `response.create` messages in, the events of a
//! Responses stream out, one a message. Core keeps one connection per conversation, within this process.
//!
//! After its first call core sends only what is new, with `previous_response_id`; the connection
//! remembers the rest. A `generate: false` call is a warm-up: its input is remembered and nothing
//! is asked of the model.

use codex_gateway_engine::model_socket::Socket;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;

use super::ask::Ask;
use super::backend::Answer;
use super::backend::Backend;
use super::backend::Event;
use super::calls::Calls;
use super::origin::Origins;
use super::request::Item;
use super::request::ModelRequest;

/// What the connection knows of the conversation so far.
#[derive(Debug, Default)]
struct Memory {
    /// The last response.
    response_id: String,
    /// All input up to it, and its output.
    items: Vec<Item>,
    /// Who made what of it.
    origins: Origins,
}

impl Memory {
    /// Makes an incremental request whole.
    fn complete(&mut self, request: &mut ModelRequest) -> Result<(), Event> {
        let new = std::mem::take(request.input_mut());
        match request.take::<String>("previous_response_id") {
            Some(id) if id == self.response_id => self.items.extend(new),
            Some(id) => {
                let message = format!("the response {id} is not known on this connection");
                return Err(error(400, "previous_response_not_found", &message));
            }
            None => self.items = new,
        }
        request.input_mut().clone_from(&self.items);
        Ok(())
    }

    /// Remembers what an event says the model said.
    fn learn(&mut self, event: &Event) {
        match event.kind.as_str() {
            "response.output_item.done" => {
                self.items.extend(Item::done(&event.json));
            }
            "response.completed" => {
                let completed = serde_json::from_str(&event.json).ok();
                self.response_id =
                    completed.map(|Completed { response }| response.id).unwrap_or_default();
            }
            _ => {}
        }
    }
}

#[derive(Deserialize)]
struct Completed {
    response: Named,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// Serves one connection until core closes it.
pub(super) async fn serve(socket: Socket, backend: Backend, calls: Calls) {
    let Socket { mut received, sent } = socket;
    // How many events are handed to core at a time, where as many are there.
    let most = sent.max_capacity();
    let mut memory = Memory::default();
    // Core asks again as soon as it has the last event of an answer, which may not have ended yet.
    let mut early = None;
    loop {
        let text = match early.take() {
            Some(text) => text,
            None => match received.recv().await {
                Some(text) => text,
                None => return,
            },
        };
        let mut bursts = ask(&text, &mut memory, &backend, &calls).ready_chunks(most);
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
                    // Core sends nothing while it is being answered, but it may leave.
                    Some(_) | None => return,
                },
            };
            // Over HTTP the end of the body would tell core; here it would wait until it loses patience.
            let burst = match burst {
                Some(burst) => burst,
                None if answered => break,
                None => vec![cut()],
            };
            let Ok(places) = sent.reserve_many(burst.len()).await else { return };
            for (event, place) in burst.into_iter().zip(places) {
                memory.learn(&event);
                answered |= event.is_last();
                place.send(event.json.into());
            }
        }
    }
}

/// Reads a message of core's and answers it.
fn ask(text: &str, memory: &mut Memory, backend: &Backend, calls: &Calls) -> Answer {
    let only = |event: Event| -> Answer { Box::pin(futures::stream::iter([event])) };
    let mut request = match ModelRequest::parse(text.as_bytes()) {
        Ok(request) => request,
        Err(parse) => return only(error(400, "invalid_request", &parse.to_string())),
    };
    if request.take::<String>("type").as_deref() != Some("response.create") {
        return only(error(400, "invalid_request", "expected a message of type response.create"));
    }
    let generate = request.take::<bool>("generate").unwrap_or(true);
    if let Err(refusal) = memory.complete(&mut request) {
        return only(refusal);
    }
    if !generate {
        return Box::pin(futures::stream::iter(warm_up()));
    }
    let mut ask = Ask::new(request);
    ask.origins = memory.origins.clone();
    ask.trace = calls.context_of(&ask);
    let Some(conversation_id) = ask.conversation_id.clone() else { return backend.answer(ask) };
    let call = calls.begin(&conversation_id);
    let answer = backend.answer(ask).take_until(call.token().clone().cancelled_owned());
    // Core is told, so that it lets go of the connection.
    let last = futures::stream::once(async move {
        call.token().is_cancelled().then(|| error(499, "cancelled", "the turn was stopped"))
    });
    Box::pin(answer.chain(last.filter_map(std::future::ready)))
}

/// The answer broke off without a word.
fn cut() -> Event {
    let error =
        json!({ "code": "stream_cut", "message": "the stream ended before response.completed" });
    Event::of(&json!({ "type": "response.failed", "response": { "error": error } }))
}

fn warm_up() -> [Event; 2] {
    let id = format!("resp_{}", uuid::Uuid::now_v7().simple());
    let event = |kind: &str| Event {
        kind: kind.to_owned(),
        json: json!({ "type": kind, "response": { "id": id } }).to_string(),
    };
    [event("response.created"), event("response.completed")]
}

/// An error as core expects it on this wire: with the status it would have had over HTTP.
pub(super) fn error(status: u16, code: &str, message: &str) -> Event {
    Event {
        kind: "error".to_owned(),
        json: json!({
            "type": "error",
            "status": status,
            "error": { "code": code, "message": message },
        })
        .to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incremental_input_is_made_whole() {
        let request = |json: &str| ModelRequest::parse(json.as_bytes()).unwrap();
        let mut memory = Memory::default();
        let mut first = request(r#"{"model":"m","input":[1,2]}"#);
        memory.complete(&mut first).unwrap();
        assert_eq!(first.to_json(), r#"{"model":"m","input":[1,2]}"#);
        memory.learn(&Event {
            kind: "response.output_item.done".into(),
            json: json!({ "type": "response.output_item.done", "item": 3 }).to_string(),
        });
        memory.learn(&Event {
            kind: "response.completed".into(),
            json: json!({ "type": "response.completed", "response": { "id": "r1" } }).to_string(),
        });
        let mut second = request(r#"{"model":"m","previous_response_id":"r1","input":[4]}"#);
        memory.complete(&mut second).unwrap();
        assert_eq!(second.to_json(), r#"{"model":"m","input":[1,2,3,4]}"#);

        let mut unknown = request(r#"{"previous_response_id":"r0","input":[5]}"#);
        assert!(memory.complete(&mut unknown).unwrap_err().json.contains("r0"));
        let mut fresh = request(r#"{"model":"m","previous_response_id":null,"input":[6]}"#);
        memory.complete(&mut fresh).unwrap();
        assert_eq!(fresh.to_json(), r#"{"model":"m","input":[6]}"#);
    }
}
