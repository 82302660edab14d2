//! Sites and targets, and an app that is late. What a client sees of a deployed app is
//! tested from outside.
#![allow(clippy::unwrap_used)]

use super::*;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

fn routes() -> (Arc<Routes>, mpsc::Receiver<NewLine>) {
    let (lines, log) = mpsc::channel(16);
    (Routes::new(lines, "test".to_owned()), log)
}

/// Whether the hostname exists, and the port that gets its next request.
fn found(routes: &Routes, host: &str) -> Option<Option<u16>> {
    routes.find(host).map(|(_, turn)| turn.and_then(|turn| turn.target.port()))
}

/// A pool with targets at these ports.
fn pool(ports: &[u16]) -> (Arc<Pool>, Vec<Arc<Target>>) {
    let pool = Pool::new(1);
    let targets: Vec<_> = ports.iter().map(|port| Target::new(Place::Port(*port))).collect();
    targets.iter().for_each(|target| pool.add(Arc::clone(target)));
    (pool, targets)
}

#[test]
fn a_hostname_has_one_form() {
    for host in ["a.b.test", "A.b.TEST", "a.b.test.", "a.b.test:80", "a.b.test.:", "a.b.test:0"] {
        assert_eq!(canonical(host), "a.b.test", "{host}");
    }
    for host in ["a.b.test:x", "a.b.test..", "[::1]:80", ""] {
        assert_ne!(canonical(host), "a.b.test", "{host}");
    }
}

fn named(apps: &[(i64, &str)]) -> Vec<(i64, String)> {
    apps.iter().map(|(app, host)| (*app, (*host).to_owned())).collect()
}

#[test]
fn a_site_leads_to_the_pool_that_opened_it_last() {
    let (routes, _log) = routes();
    let ((one, targets), (two, _)) = (pool(&[1]), pool(&[2]));
    routes.open(1, &one);
    assert_eq!(found(&routes, "a.b.test"), None, "nobody knows it");
    routes.follow(1, named(&[(1, "A.b.test")]));
    assert_eq!(found(&routes, "a.b.test"), Some(None));
    routes.open(1, &one);
    assert_eq!(found(&routes, "a.b.test:80"), Some(Some(1)));
    one.remove(&targets[0]);
    assert_eq!(found(&routes, "a.b.test"), Some(None));
    routes.open(1, &two);
    assert_eq!(found(&routes, "a.b.test"), Some(Some(2)));
    routes.stop(1);
    assert_eq!(found(&routes, "a.b.test"), Some(None));
    // Another app of that name begins without one.
    routes.open(1, &two);
    routes.follow(1, named(&[(7, "a.b.test")]));
    assert_eq!(found(&routes, "a.b.test"), Some(None));
    routes.follow(1, Vec::new());
    assert_eq!(found(&routes, "a.b.test."), None);
}

#[test]
fn an_app_goes_on_under_another_hostname_and_the_old_one_is_free() {
    let (routes, _log) = routes();
    let (one, targets) = pool(&[1, 2]);
    routes.follow(1, named(&[(1, "a.b.test"), (2, "c.b.test")]));
    routes.open(1, &one);
    let (site, _turn) = routes.find("a.b.test").unwrap();
    routes.follow(1, named(&[(1, "x.b.test"), (2, "a.b.test")]));
    assert_eq!(found(&routes, "x.b.test"), Some(Some(2)));
    assert_eq!((found(&routes, "a.b.test"), found(&routes, "c.b.test")), (Some(None), None));
    assert_eq!(
        (routes.hostname(1), routes.hostname(2), routes.hostname(3)),
        ("x.b.test".to_owned(), "a.b.test".to_owned(), String::new())
    );
    // A request that was begun under the old one is tried on another instance.
    let other = routes.another(site.app, &targets[..1]).and_then(|turn| turn.target.port());
    assert_eq!(other, Some(2));
    // A network takes another's former name before that one is known to have lost it.
    routes.follow(2, named(&[(3, "x.b.test")]));
    routes.follow(1, named(&[(1, "x.d.test")]));
    assert_eq!((found(&routes, "x.b.test"), found(&routes, "x.d.test")), (Some(None), Some(Some(2))));
    let mut meters: Vec<i64> = routes.meters().into_iter().map(|(app, _)| app).collect();
    meters.sort_unstable();
    assert_eq!(meters, [1, 3]);
}

#[test]
fn a_request_goes_where_the_fewest_are_under_way_and_equals_take_turns() {
    let (pool, targets) = pool(&[1, 2, 3]);
    let next = || pool.pick(&[]).unwrap();
    let ports: Vec<_> = (0..6).map(|_| next().target.port().unwrap()).collect();
    assert_eq!(ports, [1, 2, 3, 1, 2, 3]);
    // Held, each gets one before any gets a second.
    let held: Vec<_> = (0..3).map(|_| next()).collect();
    let mut ports: Vec<_> = held.iter().map(|turn| turn.target.port().unwrap()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3]);
    drop(held.into_iter().find(|turn| turn.target.port() == Some(2)));
    let _all = (next(), next());
    assert!((0..4).all(|_| next().target.port().is_some()));
    drop(targets);
}

#[test]
fn the_sick_get_requests_only_when_nobody_is_well() {
    let (pool, targets) = pool(&[1, 2]);
    let port = |tried: &[Arc<Target>]| pool.pick(tried).and_then(|turn| turn.target.port());
    targets[0].set_sick(true);
    assert!((0..4).all(|_| port(&[]) == Some(2)));
    // One that refused is not asked again, so that the sick one is better than none.
    assert_eq!(port(&targets[1..]), Some(1));
    assert_eq!(port(&targets), None);
    targets[1].set_sick(true);
    let mut ports = [port(&[]), port(&[])];
    ports.sort_unstable();
    assert_eq!(ports, [Some(1), Some(2)]);
    pool.remove(&targets[0]);
    assert_eq!(port(&[]), Some(2));
}

#[tokio::test]
async fn a_drain_waits_for_the_requests_that_were_begun_but_not_for_ever() {
    let (routes, _log) = routes();
    routes.follow(1, named(&[(1, "a.b.test")]));
    let (one, targets) = pool(&[1]);
    routes.open(1, &one);
    let (_, turn) = routes.find("a.b.test").unwrap();
    routes.open(1, &pool(&[2]).0);
    assert!(tokio::time::timeout(SHORT, targets[0].drain(LONG)).await.is_err());
    tokio::time::timeout(LONG, targets[0].drain(SHORT)).await.unwrap();
    drop(turn);
    tokio::time::timeout(LONG, targets[0].drain(LONG * 2)).await.unwrap();
}

/// What a client of the router gets that sends this, with an app at the port; and the
/// first line of the log.
async fn answered(proxy: proxy::Proxy, ports: &[u16], request: &str) -> (String, String) {
    let (lines, mut log) = mpsc::channel(16);
    let routes = Arc::new(Routes { table: RwLock::default(), proxy, lines, domain: "test".to_owned() });
    routes.follow(1, named(&[(1, "a.b.test")]));
    routes.open(1, &pool(ports).0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, std::convert::Infallible>(handle(routes, request, peer, false).await) }
    });
    let server = hyper::server::conn::http1::Builder::new();
    tokio::spawn(server.serve_connection(TokioIo::new(stream), service).with_upgrades());
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LONG, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    (answer, tokio::time::timeout(LONG, log.recv()).await.unwrap().unwrap().text)
}

#[tokio::test]
async fn an_app_that_does_not_answer_in_time_is_a_gateway_timeout() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = "GET /slow HTTP/1.1\r\nHost: a.b.test\r\nConnection: close\r\n\r\n";
    let (answer, line) =
        answered(proxy::Proxy::with(SHORT), &[app.local_addr().unwrap().port()], request).await;
    assert!(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer}");
    assert!(answer.contains("The app did not begin to answer within 0 s."), "{answer}");
    assert!(line.starts_with("GET /slow 504 "), "{line}");
}

#[tokio::test]
async fn a_kept_connection_that_the_app_closes_is_not_noticed() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = app.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let mut buffer = [0; 4096];
        let (mut first, _) = app.accept().await.unwrap();
        assert!(first.read(&mut buffer).await.unwrap() > 0);
        first.write_all(answer).await.unwrap();
        // The next request comes on the same connection, and meets its end.
        assert!(first.read(&mut buffer).await.unwrap() > 0);
        drop(first);
        let (mut second, _) = app.accept().await.unwrap();
        assert!(second.read(&mut buffer).await.unwrap() > 0);
        second.write_all(answer).await.unwrap();
    });
    let request = |more: &str| format!("GET / HTTP/1.1\r\nHost: a.b.test\r\n{more}\r\n");
    let both = request("") + &request("Connection: close\r\n");
    let (answer, _) = answered(proxy::Proxy::new(), &[port], &both).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
    serving.await.unwrap();
}

#[tokio::test]
async fn who_refuses_a_request_without_a_body_is_stood_in_for() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // A port that nobody listens on, since it is bound and not listened on.
    let deaf = tokio::net::TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let ports = [deaf.local_addr().unwrap().port(), app.local_addr().unwrap().port()];
    let serving = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        for _ in 0..2 {
            let (mut stream, _) = app.accept().await.unwrap();
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        }
    });
    for method in ["GET", "POST"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a.b.test\r\nConnection: close\r\n\r\n");
        let (answer, _) = answered(proxy::Proxy::new(), &ports, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    serving.await.unwrap();
    let request = "POST / HTTP/1.1\r\nHost: a.b.test\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    let (answer, _) = answered(proxy::Proxy::new(), &ports[..1], request).await;
    assert!(answer.contains("The app does not accept connections."), "{answer}");
}
