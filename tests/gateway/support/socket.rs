//! A client of `GET /ws`: calls in any order, with the notifications between their answers.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;

use futures::SinkExt;
use futures::StreamExt;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Gateway;

/// A WebSocket. Dropping it closes the connection without a close frame.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// Answers that arrived before `answer` was called, by id.
    answers: HashMap<u64, Value>,
    notifications: VecDeque<Value>,
    last_id: u64,
}

impl Socket {
    pub async fn connect(gateway: &Gateway, headers: &[(&str, &str)]) -> Self {
        Self::open(gateway.address, headers).await.unwrap()
    }

    /// Opens a socket. `Error::Http` holds a response that is no upgrade.
    pub async fn open(address: SocketAddr, headers: &[(&str, &str)]) -> Result<Self, Error> {
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let config = WebSocketConfig::default().read_buffer_size(8192).write_buffer_size(0);
        let opened = super::soon("the handshake", async {
            let stream = TcpStream::connect(address).await.unwrap();
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await
        });
        let (stream, _) = opened.await?;
        let (answers, notifications) = (HashMap::new(), VecDeque::new());
        Ok(Self { stream, answers, notifications, last_id: 0 })
    }

    /// Sends a call and returns its answer, the whole message.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        self.answer(id).await
    }

    /// Sends a call and returns its id.
    pub async fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.raw(&call.to_string()).await;
        id
    }

    /// Returns the answer to the call with this id.
    pub async fn answer(&mut self, id: u64) -> Value {
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return answer;
            }
            let message = self.json().await;
            self.keep(message);
        }
    }

    /// Returns the next notification.
    pub async fn notification(&mut self) -> Value {
        loop {
            if let Some(notification) = self.notifications.pop_front() {
                return notification;
            }
            let message = self.json().await;
            self.keep(message);
        }
    }

    /// Returns the notifications that arrived before the last awaited answer.
    pub fn notified(&mut self) -> Vec<Value> {
        self.notifications.drain(..).collect()
    }

    fn keep(&mut self, message: Value) {
        match message["id"].as_u64() {
            Some(id) => {
                assert!(self.answers.insert(id, message).is_none(), "two answers to {id}");
            }
            None => self.notifications.push_back(message),
        }
    }

    /// Sends a text message.
    pub async fn raw(&mut self, text: &str) {
        self.put(Message::text(text)).await;
    }

    pub async fn put(&mut self, message: Message) {
        super::soon("a message is taken", self.stream.send(message)).await.unwrap();
    }

    /// Returns the next message, which must be text, as JSON.
    pub async fn json(&mut self) -> Value {
        match self.next().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected a text message, got {other:?}"),
        }
    }

    /// Returns the next message except pings, `None` if the connection ends without a close frame.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            match super::soon("a message", self.stream.next()).await?.ok()? {
                Message::Ping(_) => {}
                message => return Some(message),
            }
        }
    }

    /// Reads up to the close frame and returns its code and reason.
    pub async fn closed(&mut self) -> (CloseCode, String) {
        loop {
            match self.next().await {
                Some(Message::Close(Some(frame))) => return (frame.code, frame.reason.to_string()),
                Some(Message::Close(None)) | None => panic!("the socket ended without a reason"),
                Some(_) => {}
            }
        }
    }

    /// Sends a close frame and waits for the gateway's.
    pub async fn close(mut self) {
        super::soon("the close frame", async {
            self.stream.close(None).await.unwrap();
            while let Some(Ok(_)) = self.stream.next().await {}
        })
        .await;
    }

    /// Returns the underlying connection.
    pub fn tcp(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }
}
