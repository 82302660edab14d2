//! A static release: its files as a browser gets them, and what it does not get.

use crate::harness::{Max, project};
use crate::visitor::{Head, Visitor};
use tempfile::TempDir;

const HOST: &str = "web.blue.localhost";

/// A server with this site on it.
fn serving(site: &TempDir) -> Max {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let path = site.path().to_str().unwrap();
    let deploy = rig.json(&["deploy", path, "-a", "web", "-n", "blue", "--create"]);
    assert_eq!((deploy["kind"].as_str(), deploy["state"].as_str()), (Some("static"), Some("live")));
    max
}

fn ask(visitor: &mut Visitor, line: &str, header: &str) -> Head {
    visitor.send(format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{header}\r\n"));
    visitor.head().unwrap()
}

fn get(visitor: &mut Visitor, path: &str) -> (u16, String) {
    let head = ask(visitor, &format!("GET {path}"), "");
    (head.status, visitor.body(&head))
}

#[test]
fn files_are_served_as_browsers_want_them() {
    let site = project(&[
        ("index.html", "<h1>ü</h1>"),
        ("style.css", "body {}"),
        ("app.js", "1"),
        ("a b/ü.txt", "spaces"),
        ("docs/index.html", "docs"),
        ("data.json", "{}"),
        ("empty", ""),
    ]);
    let max = serving(&site);
    let mut visitor = Visitor::new(&max);
    for (path, kind, body) in [
        ("/", "text/html; charset=utf-8", "<h1>ü</h1>"),
        ("/index.html", "text/html; charset=utf-8", "<h1>ü</h1>"),
        ("/style.css?v=1", "text/css; charset=utf-8", "body {}"),
        ("/app.js", "text/javascript; charset=utf-8", "1"),
        ("/data.json", "application/json", "{}"),
        ("/a%20b/%C3%BC.txt", "text/plain; charset=utf-8", "spaces"),
        ("/docs/", "text/html; charset=utf-8", "docs"),
        ("/empty", "application/octet-stream", ""),
    ] {
        let head = ask(&mut visitor, &format!("GET {path}"), "");
        assert_eq!((head.status, head.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(visitor.body(&head), body, "{path}");
    }
    for path in ["/docs", "//docs"] {
        let head = ask(&mut visitor, &format!("GET {path}"), "");
        assert_eq!((head.status, head.header("location")), (307, Some("/docs/")), "{path}");
        visitor.body(&head);
    }
    let head = ask(&mut visitor, "HEAD /style.css", "");
    assert_eq!((head.status, head.header("content-length")), (200, Some("7")));
    let changed = head.header("last-modified").unwrap().to_owned();
    let head = ask(&mut visitor, "GET /style.css", &format!("If-Modified-Since: {changed}\r\n"));
    assert_eq!(head.status, 304);
    let head = ask(&mut visitor, "GET /style.css", "Range: bytes=0-3\r\n");
    assert_eq!((head.status, head.header("content-range")), (206, Some("bytes 0-3/7")));
    assert_eq!(visitor.body(&head), "body");
    let head = ask(&mut visitor, "POST /", "");
    assert_eq!((head.status, head.header("allow")), (405, Some("GET, HEAD")));
    assert!(visitor.body(&head).contains("These are files; they can only be read."));
    let (status, body) = get(&mut visitor, "/%3Cx%3E");
    assert_eq!(status, 404);
    assert!(body.contains("<p>There is no &#39;/&lt;x&gt;&#39; here.</p>"), "{body}");
}

#[test]
fn a_project_has_its_own_page_for_what_is_missing() {
    let max = serving(&project(&[("index.html", "x"), ("404.html", "<p>lost?</p>")]));
    let mut visitor = Visitor::new(&max);
    for path in ["/nothing", "/.env", "/deep/er"] {
        assert_eq!(get(&mut visitor, path), (404, "<p>lost?</p>".to_owned()), "{path}");
    }
}

#[test]
fn what_is_hidden_or_outside_is_not_served() {
    let build = "echo no >.secret; echo no >../no; ln -s /etc/passwd out; ln -s ../../.. up; \
                 ln -s .secret shown; ln -s index.html inside; mkdir d; ln -s .. d/loop; \
                 mkfifo pipe 404.html d/index.html";
    let site = project(&[
        ("index.html", "x"),
        (".well-known/security.txt", "mail"),
        ("rig.json", &format!(r#"{{"build":"{build}"}}"#)),
    ]);
    let max = serving(&site);
    // Were one of the pipes opened, there would be no answer at all.
    for path in [
        "/out",
        "/up/lock",
        "/shown",
        "/.secret",
        "/%2esecret",
        "/d/loop/.secret",
        "/rig.json",
        "//rig.json",
        "/../no",
        "/%2e%2e/no",
        "/..%2fno",
        "/pipe",
        "/404.html",
        "/d/",
        "/d",
        "/%00",
        "/index.html/",
        "/missing",
    ] {
        let (status, body) = get(&mut Visitor::new(&max), path);
        assert_eq!(status, 404, "{path}: {body}");
        assert!(!body.contains("root:") && !body.contains("no\n"), "{path}: {body}");
    }
    let mut visitor = Visitor::new(&max);
    assert_eq!(get(&mut visitor, "/inside"), (200, "x".to_owned()));
    assert_eq!(get(&mut visitor, "/d/loop/index.html"), (200, "x".to_owned()));
    assert_eq!(get(&mut visitor, "/.well-known/security.txt"), (200, "mail".to_owned()));
}
