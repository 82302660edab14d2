//! The HTTP side of the API: health, sessions, uploads, and the door to the socket.

use super::access::Access;
use super::metrics::expose;
use super::platform::Platform;
use super::ready::Ready;
use super::{longpoll, ws};
use crate::error::{Error, Kind, Result};
use crate::wire::Failure;
use crate::wire::auth::{Exchange, Refresh};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use miniserde::{Deserialize, Serialize, json};
use std::sync::Arc;
use std::time::SystemTime;

/// The largest JSON body.
const MAX_JSON: usize = 64 * 1024;

/// What every handler gets.
pub type Shared = State<Arc<Platform>>;

/// The routes of the API.
pub fn router(platform: Arc<Platform>, door: expose::Door) -> Router {
    let (door, ready) = (Arc::new(door), Arc::new(Ready::default()));
    let metrics = move |State(platform): Shared, headers: HeaderMap| {
        let door = Arc::clone(&door);
        async move { expose::answer(platform, &door, &headers).await.map_err(Fault) }
    };
    let readiness = move |State(platform): Shared| {
        let ready = Arc::clone(&ready);
        async move { ready.answer(&platform).await }
    };
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/api/v1/auth/exchange", post(exchange))
        .route("/api/v1/auth/refresh", post(refresh))
        .route("/api/v1/auth/revoke", post(revoke))
        .route("/api/v1/deploys/{id}/source", put(source).layer(DefaultBodyLimit::disable()))
        .route("/api/v1/deploys/{id}/manifest", put(manifest).layer(DefaultBodyLimit::disable()))
        .route("/api/v1/deploys/{id}/contents", put(contents).layer(DefaultBodyLimit::disable()))
        .route("/api/v1/networks/{name}/manifest", put(look).layer(DefaultBodyLimit::disable()))
        .route("/socket/websocket", get(ws::upgrade))
        .route("/socket/longpoll", any(longpoll::handle))
        .fallback(|| async { Fault(Error::new(Kind::NotFound, "there is nothing at this path")) })
        .layer(DefaultBodyLimit::max(MAX_JSON))
        .with_state(platform)
}

/// An error as an answer.
pub struct Fault(pub Error);

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault(error)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = match self.0.kind() {
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            say!("{}", self.0);
        }
        document(status, &Failure::from(&self.0))
    }
}

/// A document as an answer.
pub fn document(status: StatusCode, document: &impl Serialize) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, json, json::to_string(document)).into_response()
}

fn read<T: Deserialize>(body: &Bytes) -> Result<T> {
    let text = std::str::from_utf8(body).ok();
    text.and_then(|text| json::from_str(text).ok()).ok_or_else(|| Error::usage("the request is malformed"))
}

/// What `GET /healthz` answers.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
}

async fn health() -> Response {
    document(StatusCode::OK, &Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

async fn exchange(State(platform): Shared, body: Bytes) -> Result<Response, Fault> {
    let request: Exchange = read(&body)?;
    Ok(document(
        StatusCode::OK,
        &platform.auth.exchange(&request.token, request.brief.unwrap_or(false), SystemTime::now()).await?,
    ))
}

async fn refresh(State(platform): Shared, body: Bytes) -> Result<Response, Fault> {
    let request: Refresh = read(&body)?;
    Ok(document(StatusCode::OK, &platform.auth.refresh(&request.refresh_token, SystemTime::now()).await?))
}

async fn revoke(State(platform): Shared, headers: HeaderMap) -> Result<Response, Fault> {
    let who = bearer(&platform, &headers, "POST /api/v1/auth/revoke").await?;
    platform.auth.revoke(who.session).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Who asks for `what`, a row of the table of access.
async fn bearer(platform: &Platform, headers: &HeaderMap, what: &str) -> Result<Access> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
    platform.auth.check(token, SystemTime::now()).await?.asks(what)
}

fn deploy(id: &str) -> Result<u64> {
    id.parse().map_err(|_| Error::new(Kind::NotFound, format!("deploy {id} does not exist")))
}

async fn source(
    State(platform): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let who = bearer(&platform, &headers, "PUT /api/v1/deploys/{id}/source").await?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let id = deploy(&id)?;
    let work = |platform: Arc<Platform>| async move { platform.take_source(&who, id, length, body).await };
    Ok(document(StatusCode::ACCEPTED, &platform.to_its_end(work).await?))
}

async fn manifest(
    State(platform): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let who = bearer(&platform, &headers, "PUT /api/v1/deploys/{id}/manifest").await?;
    let id = deploy(&id)?;
    let work = |platform: Arc<Platform>| async move { platform.take_manifest(&who, id, body).await };
    Ok(document(StatusCode::OK, &platform.to_its_end(work).await?))
}

async fn look(
    State(platform): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let who = bearer(&platform, &headers, "PUT /api/v1/networks/{name}/manifest").await?;
    let work = |platform: Arc<Platform>| async move { platform.look_at_manifest(&who, name, body).await };
    Ok(document(StatusCode::OK, &platform.to_its_end(work).await?))
}

async fn contents(
    State(platform): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let who = bearer(&platform, &headers, "PUT /api/v1/deploys/{id}/contents").await?;
    let id = deploy(&id)?;
    let work = |platform: Arc<Platform>| async move { platform.take_contents(&who, id, body).await };
    Ok(document(StatusCode::OK, &platform.to_its_end(work).await?))
}
