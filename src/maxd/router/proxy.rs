//! Forwards a request to an instance, and its answer back, streaming both ways
//! (RFC 9110, 7.6; RFC 9112).

use super::pool::{Target, Turn};
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long an app may take to begin its answer once it has the request.
const ANSWER: Duration = Duration::from_secs(60);

/// How long a connection is kept for the next request: shorter than app servers
/// keep theirs, so that they seldom close it just when it is used.
const IDLE: Duration = Duration::from_secs(1);

/// Headers that concern one connection only.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Connections to the instances.
pub struct Proxy {
    /// For requests that can be sent once more if the app closes the connection in the
    /// moment it is used again.
    kept: Client<HttpConnector, Body>,
    /// For all others a connection each. So a body that the app leaves unread is never
    /// taken for somebody's next request.
    fresh: Client<HttpConnector, Body>,
    answer: Duration,
}

/// Where a request came from.
pub struct Origin<'a> {
    /// The host it is for, as the client wrote it.
    pub host: &'a str,
    /// The client.
    pub peer: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
}

impl Proxy {
    /// No connections yet.
    pub fn new() -> Proxy {
        Proxy::with(ANSWER)
    }

    /// The same with another limit for the answer.
    pub fn with(answer: Duration) -> Proxy {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        let kept = builder.build(connector.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(connector);
        Proxy { kept, fresh, answer }
    }

    /// The app's answer, with the token to hold until it has gone out; or what is wrong,
    /// for people. `turn` is the request's, and listens on `port`; `another` gives a target
    /// that was not tried yet.
    pub async fn forward(
        &self,
        mut request: Request<Incoming>,
        port: u16,
        turn: Turn,
        another: impl Fn(&[Arc<Target>]) -> Option<Turn>,
        origin: &Origin<'_>,
    ) -> Result<(Response<Body>, Option<TaskTrackerToken>), Wrong> {
        let protocol = upgrade_of(request.headers());
        let client = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        parts.version = Version::HTTP_11;
        forwarded(&mut parts.headers, origin);
        if let Some(protocol) = &protocol {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(header::UPGRADE, protocol.clone());
        }
        let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let safe = safe && body.is_end_stream() && client.is_none();
        if client.is_none() && !safe {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let (answer, token) = if body.is_end_stream() {
            self.send_empty(parts, safe, (turn, port), another).await?
        } else {
            parts.uri = uri_at(&parts.uri, port)?;
            (self.send(&self.fresh, Request::from_parts(parts, body)).await, turn.token)
        };
        let mut response = answer.map_err(|failure| failure.told(self.answer))?;
        let server = hyper::upgrade::on(&mut response);
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let token = match (switched, client) {
            (true, Some(client)) => {
                carry(client, server, token);
                None
            }
            (true, None) => {
                return Err(Wrong::app("The app switches the protocol, which nobody asked for."));
            }
            (false, _) => Some(token),
        };
        let accepted = response.headers().get(header::UPGRADE).cloned().filter(|_| switched);
        clean(response.headers_mut());
        if let Some(protocol) = accepted {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(header::UPGRADE, protocol);
        }
        *response.version_mut() = Version::HTTP_11;
        Ok((response.map(Body::new), token))
    }

    /// Sends a request without a body. A target that refuses the connection has seen
    /// nothing of it, so another one gets it; and if it is `safe` and breaks off, it is sent
    /// once more.
    async fn send_empty(
        &self,
        parts: Parts,
        safe: bool,
        (mut turn, mut port): (Turn, u16),
        another: impl Fn(&[Arc<Target>]) -> Option<Turn>,
    ) -> Result<(Result<Response<Incoming>, Failure>, TaskTrackerToken), Wrong> {
        let client = if safe { &self.kept } else { &self.fresh };
        let (mut tried, mut again) = (Vec::new(), safe);
        loop {
            let mut parts = parts.clone();
            parts.uri = uri_at(&parts.uri, port)?;
            let answer = self.send(client, Request::from_parts(parts, Body::empty())).await;
            let repeat = match &answer {
                Err(Failure::Refused) => false,
                Err(Failure::Broken) if again => std::mem::replace(&mut again, false),
                _ => return Ok((answer, turn.token)),
            };
            tried.push(Arc::clone(&turn.target));
            match another(&tried).map(|turn| (turn.target.port(), turn)) {
                Some((Some(other), next)) => (turn, port) = (next, other),
                _ if repeat => {}
                _ => return Ok((answer, turn.token)),
            }
        }
    }

    /// Sends a request. The time for the answer counts from the last byte the app took.
    async fn send<B>(
        &self,
        client: &Client<HttpConnector, Body>,
        request: Request<B>,
    ) -> Result<Response<Incoming>, Failure>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let progress =
            Arc::new(Progress { last: Mutex::new(Instant::now()), broken: AtomicBool::new(false) });
        let request = request.map(|inner| Body::new(Upload { inner, progress: progress.clone() }));
        let mut answer = std::pin::pin!(client.request(request));
        loop {
            let deadline = progress.last() + self.answer;
            match tokio::time::timeout_at(deadline, &mut answer).await {
                Ok(Err(_)) if progress.broken.load(Ordering::Relaxed) => return Err(Failure::Client),
                Ok(answer) => return answer.map_err(|error| Failure::of(&error)),
                Err(_) if progress.last() + self.answer <= deadline => return Err(Failure::Late),
                Err(_) => {}
            }
        }
    }
}

/// What a client is told instead of an answer of the app.
pub struct Wrong {
    /// Whose fault it is.
    pub status: StatusCode,
    /// What happened.
    pub text: String,
}

impl Wrong {
    fn app(text: impl Into<String>) -> Wrong {
        Wrong { status: StatusCode::BAD_GATEWAY, text: text.into() }
    }

    fn client(text: &str) -> Wrong {
        Wrong { status: StatusCode::BAD_REQUEST, text: text.to_owned() }
    }
}

/// How a request came to have no answer.
enum Failure {
    Refused,
    Broken,
    Late,
    /// The client did not send what it had promised.
    Client,
}

impl Failure {
    fn of(error: &Error) -> Failure {
        if error.is_connect() { Failure::Refused } else { Failure::Broken }
    }

    fn told(&self, limit: Duration) -> Wrong {
        match self {
            Failure::Refused => Wrong::app("The app does not accept connections."),
            Failure::Broken => Wrong::app("The app broke off, or answered with something that is no HTTP."),
            Failure::Late => Wrong {
                status: StatusCode::GATEWAY_TIMEOUT,
                text: format!("The app did not begin to answer within {} s.", limit.as_secs()),
            },
            Failure::Client => Wrong::client("The body of the request ended early, or is malformed."),
        }
    }
}

/// Carries bytes both ways, until both sides have closed; holds the token meanwhile.
fn carry(client: OnUpgrade, server: OnUpgrade, token: TaskTrackerToken) {
    tokio::spawn(async move {
        let _token = token;
        let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        // That one of them left is how these end.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
}

/// Where a request goes at an instance.
fn uri_at(uri: &Uri, port: u16) -> Result<Uri, Wrong> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let whole = match path {
        "*" => format!("http://127.0.0.1:{port}"),
        path => format!("http://127.0.0.1:{port}{path}"),
    };
    whole.parse().map_err(|_| Wrong::client("The path of the request is malformed."))
}

/// The protocol a request wants to switch to.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = connection_words(headers).any(|word| word.eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| asks).cloned()
}

fn connection_words(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Removes what concerns one connection only, also by the message's own word.
fn clean(headers: &mut HeaderMap) {
    // The length and the host can't be declared away.
    let fixed = [header::HOST, header::CONTENT_LENGTH];
    let named = connection_words(headers)
        .filter_map(|word| HeaderName::try_from(word).ok())
        .filter(|name| !fixed.contains(name));
    for name in named.collect::<Vec<_>>() {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

/// The headers of a request as the app gets them.
fn forwarded(headers: &mut HeaderMap, origin: &Origin<'_>) {
    clean(headers);
    // The body is sent in any case, and `100 Continue` is maxd's to say; `Proxy` would
    // become a CGI program's HTTP_PROXY.
    headers.remove(header::EXPECT);
    headers.remove("proxy");
    let before = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let peer = origin.peer.ip().to_canonical().to_string();
    let chain = before.chain([peer.as_str()]).collect::<Vec<_>>().join(", ");
    let protocol = if origin.secure { "https" } else { "http" };
    for (name, value) in [
        ("x-forwarded-for", chain.as_str()),
        ("x-forwarded-proto", protocol),
        ("x-forwarded-host", origin.host),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    if let Ok(host) = HeaderValue::try_from(origin.host) {
        headers.insert(header::HOST, host);
    }
}

/// How far a request's body has come.
struct Progress {
    /// When the app took a part of it.
    last: Mutex<Instant>,
    /// The client broke it off.
    broken: AtomicBool,
}

impl Progress {
    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's body that notes its progress.
struct Upload<B> {
    inner: B,
    progress: Arc<Progress>,
}

impl<B> HttpBody for Upload<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(part) = &polled {
            *self.progress.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            self.progress.broken.store(matches!(part, Some(Err(_))), Ordering::Relaxed);
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
