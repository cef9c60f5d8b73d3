//! Rules of the table, with paused time and without sockets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::pool::MAX_CLOSING;
use super::pool::RELIEF;
use super::*;
use crate::shutdown::Shutdown;
use crate::web::Limits;

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const MIB: usize = 1 << 20;

/// Room for 4 authenticated connections and 16 others.
fn limits() -> Limits {
    Limits {
        max_connections: 4,
        max_connections_per_key: 4,
        max_connections_per_address: 1000,
        max_streams: 100,
        max_unread_bytes: 8 * MIB,
        body_limit: 1 << 20,
        header_timeout: Duration::from_secs(10),
        keep_alive_timeout: Duration::from_secs(75),
        body_timeout: Duration::from_secs(30),
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(9),
    }
}

fn table(limits: Limits) -> Arc<Connections> {
    Connections::new(limits, Shutdown::default())
}

fn is_closing(connection: &Connection) -> bool {
    connection.record.close.is_cancelled()
}

fn is_aborted(connection: &Connection) -> bool {
    connection.record.abort.is_cancelled()
}

async fn open(table: &Arc<Connections>, peer: IpAddr, count: usize) -> Vec<Arc<Connection>> {
    let mut opened = Vec::new();
    for _ in 0..count {
        opened.push(Connection::open(table, peer));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    opened
}

/// Begins a request with the key `k`.
fn authenticate(connection: &Arc<Connection>) -> Result<Arc<InProgress>, Full> {
    let request = connection.begin();
    request.authenticate(&"k".into()).map(|()| request)
}

fn left(connection: &Connection) -> Option<(u64, CloseReason)> {
    let (at, reason) = connection.deadline()?;
    Some(((at - Instant::now()).as_millis().try_into().unwrap(), reason))
}

#[tokio::test(start_paused = true)]
async fn deadline_follows_the_phase_of_http_1() {
    let table = table(limits());
    let connection = Connection::open(&table, A);
    assert_eq!(left(&connection), Some((10_000, CloseReason::HeadTimeout)));
    tokio::time::advance(Duration::from_secs(4)).await;
    connection.received(b"P");
    assert_eq!(left(&connection), Some((6_000, CloseReason::HeadTimeout)));
    let request = connection.begin();
    assert_eq!(left(&connection), Some((75_000, CloseReason::Idle)));
    request.authenticate(&"k".into()).unwrap();
    assert_eq!(left(&connection), None);
    tokio::time::advance(Duration::from_secs(600)).await;
    drop(request);
    assert_eq!(left(&connection), Some((75_000, CloseReason::Idle)));
    tokio::time::advance(Duration::from_secs(70)).await;
    connection.received(b"GET /");
    assert_eq!(left(&connection), Some((10_000, CloseReason::HeadTimeout)));
    tokio::time::advance(Duration::from_secs(2)).await;
    connection.received(b"health");
    assert_eq!(left(&connection), Some((8_000, CloseReason::HeadTimeout)));
}

#[tokio::test(start_paused = true)]
async fn http2_pings_do_not_extend_the_deadline() {
    let table = table(limits());
    let connection = Connection::open(&table, A);
    connection.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(left(&connection), Some((75_000, CloseReason::Idle)));
    tokio::time::advance(Duration::from_secs(60)).await;
    connection.received(b"a ping");
    assert_eq!(left(&connection), Some((15_000, CloseReason::Idle)));
    // An unauthenticated stream that is never read extends it once.
    let _request = connection.begin();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(left(&connection), Some((15_000, CloseReason::Idle)));
}

#[tokio::test(start_paused = true)]
async fn idlest_connection_makes_room() {
    let table = table(limits());
    let opened = open(&table, A, 20).await;
    drop(opened[0].begin());
    let _request = opened[1].begin();
    open(&table, A, 2).await;
    let closing: Vec<usize> = (0..20).filter(|n| is_closing(&opened[*n])).collect();
    assert_eq!(closing, [2, 3]);
    assert_eq!(table.closed(CloseReason::Pressure), 2);
}

#[tokio::test(start_paused = true)]
async fn larger_network_makes_room() {
    let table = table(limits());
    let few = open(&table, B, 3).await;
    let many = open(&table, A, 17).await;
    let busy: Vec<Arc<InProgress>> = many.iter().map(Connection::begin).collect();
    let late = open(&table, B, 7).await;
    assert!(few.iter().chain(&late).all(|connection| !is_closing(connection)));
    assert!(many[..7].iter().all(|connection| is_closing(connection)));
    // Both have ten.
    assert_eq!((table.unauthenticated(), busy.len()), (20, 17));
}

#[tokio::test(start_paused = true)]
async fn authenticated_request_never_makes_room() {
    let table = table(limits());
    let kept = open(&table, A, 4).await;
    let requests: Vec<_> = kept.iter().map(authenticate).collect();
    assert!(requests.iter().all(Result::is_ok));
    let flood = open(&table, A, 200).await;
    assert!(kept.iter().all(|connection| !is_closing(connection)));
    assert_eq!(table.unauthenticated(), 16);
    let newest = flood.last().unwrap();
    assert!(!is_closing(newest), "the newest connection can still be a probe");
    // Every place with a key is in use.
    assert_eq!(newest.begin().authenticate(&"other".into()), Err(Full::All));
    assert!(authenticate(&kept[0]).is_ok(), "one that was authenticated stays so");
}

#[tokio::test(start_paused = true)]
async fn one_key_leaves_connections_for_another() {
    let table = table(Limits { max_connections_per_key: 3, ..limits() });
    let opened = open(&table, A, 5).await;
    let mut held: Vec<_> = opened[..3].iter().map(|c| authenticate(c).unwrap()).collect();
    assert_eq!(authenticate(&opened[3]).unwrap_err(), Full::Key);
    held.push(authenticate(&opened[2]).unwrap());
    let other = opened[3].begin();
    assert_eq!(other.authenticate(&"other".into()), Ok(()));
    // A response that is not read holds its connection.
    let mut unread = Unread::of(held.swap_remove(0));
    unread.add(1);
    let byte = unread.attach(Bytes::from_static(b"x"));
    drop(unread);
    assert_eq!(authenticate(&opened[4]).unwrap_err(), Full::Key);
    drop(byte);
    assert!(authenticate(&opened[4]).is_ok());
}

#[tokio::test(start_paused = true)]
async fn idle_authenticated_connection_makes_room_last() {
    let table = table(limits());
    let kept = open(&table, A, 4).await;
    for connection in &kept {
        authenticate(connection).unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let _request = kept[0].begin();
    let others = open(&table, B, 16).await;
    assert!(kept.iter().all(|connection| !is_closing(connection)));
    // A fifth client with a key takes the place of the idlest.
    assert!(authenticate(&others[0]).is_ok());
    let closing: Vec<bool> = kept.iter().map(|connection| is_closing(connection)).collect();
    assert_eq!(closing, [false, true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn address_limit_counts_unauthenticated_connections() {
    let table = table(Limits { max_connections_per_address: 3, ..limits() });
    let proxy = open(&table, A, 3).await;
    for connection in &proxy {
        authenticate(connection).unwrap();
    }
    let others = open(&table, A, 3).await;
    assert!(proxy.iter().chain(&others).all(|connection| !is_closing(connection)));
    let last = Connection::open(&table, A);
    assert!(is_closing(&others[0]) && !is_closing(&others[1]) && !is_closing(&last));
    assert!(proxy.iter().all(|connection| !is_closing(connection)));
    assert_eq!(table.closed(CloseReason::AddressLimit), 1);
}

#[tokio::test(start_paused = true)]
async fn key_keeps_a_connection_about_to_close() {
    let table = table(limits());
    let opened = open(&table, A, 21).await;
    assert!(is_closing(&opened[0]));
    let _request = authenticate(&opened[0]).unwrap();
    assert!(opened[0].is_protected());
    let flood = open(&table, A, 100).await;
    assert!(!is_aborted(&opened[0]) && !is_closing(flood.last().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn connections_that_do_not_close_are_dropped() {
    let table = table(limits());
    let opened = open(&table, A, 20 + MAX_CLOSING + 5).await;
    let aborted = opened.iter().filter(|connection| is_aborted(connection)).count();
    assert_eq!(aborted, 5);
    assert!(opened[..5].iter().all(|connection| is_aborted(connection)));
    drop(opened);
    assert_eq!(table.table.lock().len(), 0);
    assert_eq!(table.shutdown.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn lack_of_files_drops_idle_connections_at_once() {
    let table = table(limits());
    let opened = open(&table, A, 20).await;
    table.relieve();
    assert!(opened[..RELIEF].iter().all(|connection| is_aborted(connection)));
    assert!(opened[RELIEF..].iter().all(|connection| !is_closing(connection)));
}

#[tokio::test(start_paused = true)]
async fn client_with_the_most_unread_bytes_is_dropped() {
    let table = table(limits());
    let opened = open(&table, A, 3).await;
    let mut unread: Vec<Unread> =
        opened.iter().map(|connection| Unread::of(connection.begin())).collect();
    unread[0].add(3 * MIB);
    unread[1].add(4 * MIB);
    let chunk = unread[1].attach(Bytes::from(vec![0; MIB]));
    assert_eq!(table.unread(), 7 * MIB);
    assert!(opened.iter().all(|connection| !is_aborted(connection)));
    unread[2].add(2 * MIB);
    let aborted: Vec<bool> = opened.iter().map(|connection| is_aborted(connection)).collect();
    assert_eq!(aborted, [false, true, false]);
    assert_eq!(table.closed(CloseReason::Unread), 1);
    drop(unread);
    assert_eq!(table.unread(), MIB, "the chunk is still in a buffer");
    drop(chunk);
    assert_eq!(table.unread(), 0);
}
