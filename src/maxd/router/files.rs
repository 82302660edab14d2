//! A static release: the files of its directory, but for hidden ones and those that
//! are about the project rather than of it.

use super::page;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use std::path::{Path, PathBuf};
use tower::ServiceExt;
use tower_http::services::ServeDir;

/// Files at the top that are not served.
const OURS: &[&str] = &["rig.json", "Procfile"];

/// Answers a request for a file below `dir`. A project's `404.html` is its page for
/// what is not there.
pub async fn answer(dir: &Path, request: Request<Incoming>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response =
            page::error(StatusCode::METHOD_NOT_ALLOWED, "These are files; they can only be read.");
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let path = request.uri().path().to_owned();
    let (mut parts, _) = request.into_parts();
    // A redirect to `//docs/` would lead to the host `docs`.
    let whole = parts.uri.path_and_query().map_or("/", |whole| whole.as_str());
    if let Ok(single) = format!("/{}", whole.trim_start_matches('/')).parse() {
        parts.uri = single;
    }
    if visible(&path) && inside(dir, &path).await.is_some() {
        let served = ServeDir::new(dir).oneshot(Request::from_parts(parts, Body::empty())).await;
        let Ok(response) = served;
        if response.status() != StatusCode::NOT_FOUND {
            return with_charset(response.map(Body::new));
        }
    }
    missing(dir, &path).await
}

/// Whether no part of the path is hidden. `/.well-known/` is meant to be seen
/// (RFC 8615).
fn visible(path: &str) -> bool {
    let decoded = decoded(path);
    let hidden = decoded.split('/').any(|part| part.starts_with('.') && part != ".well-known");
    let first = decoded.trim_start_matches('/').trim_end_matches('/');
    !hidden && !OURS.contains(&first)
}

fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The file the path leads to, links followed, if it lies in the release and is not
/// hidden: a build may have made what the archive could not have had, such as a link
/// that leads out of it, or a pipe, at which a reader would wait for ever.
async fn inside(dir: &Path, path: &str) -> Option<PathBuf> {
    let wanted = decoded(path).trim_start_matches('/').to_owned();
    let dir = dir.to_path_buf();
    let find = move || {
        let root = dir.canonicalize().ok()?;
        let mut file = dir.join(wanted).canonicalize().ok()?;
        if file.is_dir() {
            file = file.join("index.html").canonicalize().ok()?;
        }
        let below = file.strip_prefix(&root).ok()?;
        (visible(&below.to_string_lossy()) && file.is_file()).then_some(file)
    };
    tokio::task::spawn_blocking(find).await.ok()?
}

async fn missing(dir: &Path, path: &str) -> Response<Body> {
    let text = format!("There is no '{}' here.", decoded(path));
    let mut response = page::error(StatusCode::NOT_FOUND, &text);
    if let Some(own) = inside(dir, "/404.html").await
        && let Ok(own) = tokio::fs::read(own).await
    {
        *response.body_mut() = Body::from(own);
    }
    response
}

/// Text is UTF-8 unless it says otherwise itself.
fn with_charset(mut response: Response<Body>) -> Response<Body> {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if let Some(kind) = kind.filter(|kind| kind.starts_with("text/") && !kind.contains("charset"))
        && let Ok(value) = header::HeaderValue::try_from(format!("{kind}; charset=utf-8"))
    {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_the_projects_own_are_not_served() {
        for path in ["/", "/a/b.css", "/.well-known/security.txt", "/docs/rig.json", "/a..b"] {
            assert!(visible(path), "{path}");
        }
        for path in [
            "/.env",
            "/.git/config",
            "/a/.hidden",
            "/%2egit/config",
            "/a/%2E%2E/b",
            "/rig.json",
            "//rig.json",
            "/rig%2ejson",
            "/../x",
            "/a%2f.env",
        ] {
            assert!(!visible(path), "{path}");
        }
    }
}
