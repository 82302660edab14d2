//! Sites and targets, and an app that is late. What a client sees of a deployed app is
//! tested from outside.
#![allow(clippy::unwrap_used)]

use super::*;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

fn routes() -> (Arc<Routes>, mpsc::Receiver<NewLine>) {
    let (lines, log) = mpsc::channel(16);
    (Routes::new(lines, "test".to_owned()), log)
}

/// Whether the hostname exists, and the release that has its traffic.
fn found(routes: &Routes, host: &str) -> Option<Option<u64>> {
    routes.find(host).map(|(site, _)| site.target.map(|target| target.release))
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

#[test]
fn only_who_has_the_traffic_can_give_it_up() {
    let (routes, _log) = routes();
    let (one, two) = (Target::new(1, Place::Port(1)), Target::new(2, Place::Port(2)));
    routes.open("a.b.test", &one);
    assert_eq!(found(&routes, "a.b.test"), None, "nobody has registered it");
    routes.register("A.b.test", 1, 1);
    assert_eq!(found(&routes, "a.b.test"), Some(None));
    routes.open("a.b.test", &one);
    // Registered again by the same app it keeps its target.
    routes.register("a.b.test", 1, 1);
    assert_eq!(found(&routes, "a.b.test:80"), Some(Some(1)));
    routes.open("a.b.test", &two);
    routes.close("a.b.test", &one);
    assert_eq!(found(&routes, "a.b.test"), Some(Some(2)));
    // Another app of that name begins without one.
    routes.register("a.b.test", 1, 7);
    assert_eq!(found(&routes, "a.b.test"), Some(None));
    routes.unregister("a.b.test.");
    assert_eq!(found(&routes, "a.b.test"), None);
}

#[tokio::test]
async fn a_drain_waits_for_the_requests_that_were_begun_but_not_for_ever() {
    let (routes, _log) = routes();
    routes.register("a.b.test", 1, 1);
    let one = Target::new(1, Place::Port(1));
    routes.open("a.b.test", &one);
    let (_, token) = routes.find("a.b.test").unwrap();
    routes.open("a.b.test", &Target::new(2, Place::Port(2)));
    assert!(tokio::time::timeout(SHORT, one.drain(LONG)).await.is_err());
    tokio::time::timeout(LONG, one.drain(SHORT)).await.unwrap();
    drop(token);
    tokio::time::timeout(LONG, one.drain(LONG * 2)).await.unwrap();
}

/// What a client of the router gets that sends this, with an app at the port; and the
/// first line of the log.
async fn answered(proxy: proxy::Proxy, port: u16, request: &str) -> (String, String) {
    let (lines, mut log) = mpsc::channel(16);
    let sites = RwLock::default();
    let routes = Arc::new(Routes { sites, proxy, lines, domain: "test".to_owned() });
    routes.register("a.b.test", 1, 1);
    routes.open("a.b.test", &Target::new(1, Place::Port(port)));
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
    let (answer, line) = answered(proxy::Proxy::with(SHORT), app.local_addr().unwrap().port(), request).await;
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
    let (answer, _) = answered(proxy::Proxy::new(), port, &both).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
    serving.await.unwrap();
}
