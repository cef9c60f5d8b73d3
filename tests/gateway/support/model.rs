//! A scripted model: a Responses API that answers with one sentence and records its requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;

/// A running model.
pub struct Model {
    pub base_url: String,
    pub requests: Arc<Mutex<Vec<Value>>>,
    pub authorizations: Arc<Mutex<Vec<String>>>,
}

impl Model {
    pub async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let authorizations = Arc::new(Mutex::new(Vec::new()));
        let (kept, keys) = (Arc::clone(&requests), Arc::clone(&authorizations));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (kept, keys) = (Arc::clone(&kept), Arc::clone(&keys));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (kept, keys) = (Arc::clone(&kept), Arc::clone(&keys));
                    async move {
                        if let Some(key) = request.headers().get("authorization") {
                            keys.lock().unwrap().push(key.to_str().unwrap().to_owned());
                        }
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        if let Ok(body) = serde_json::from_slice(&body) {
                            kept.lock().unwrap().push(body);
                        }
                        let response = Response::builder()
                            .status(status)
                            .header("content-type", "text/event-stream")
                            .body(Full::new(Bytes::from(sentence())));
                        Ok::<_, Infallible>(response.unwrap())
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Self { base_url, requests, authorizations }
    }

    /// Returns the configuration that makes it the provider.
    pub fn config(&self) -> String {
        format!(
            "model = \"scripted\"\nmodel_provider = \"scripted\"\n\
             [model_providers.scripted]\nname = \"Scripted\"\nbase_url = \"{}\"\n\
             env_key = \"SCRIPTED_KEY\"\nrequest_max_retries = 0\nstream_max_retries = 0\n",
            self.base_url
        )
    }

    /// Returns the body of the last request, as text.
    pub fn last_request(&self) -> String {
        self.requests.lock().unwrap().last().map(Value::to_string).unwrap_or_default()
    }
}

fn sentence() -> String {
    let item = |content: Value| json!({ "type": "message", "role": "assistant", "id": "m1", "content": content });
    [
        json!({ "type": "response.created", "response": { "id": "r1" } }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": item(json!([])) }),
        json!({ "type": "response.output_text.delta", "item_id": "m1", "output_index": 0, "content_index": 0, "delta": "Noted." }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": item(json!([{ "type": "output_text", "text": "Noted." }])) }),
        json!({ "type": "response.completed", "response": { "id": "r1", "usage": {
            "input_tokens": 10, "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": 2, "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 12,
        } } }),
    ]
    .iter()
    .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
    .collect()
}
