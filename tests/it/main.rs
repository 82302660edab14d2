//! The real `rig` against a real `maxd`, over real sockets. One file a subject.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod certs;
mod harness;
mod receiver;
mod visitor;

mod alerts;
mod api;
mod apps;
mod channels;
mod chaos;
mod command;
mod context;
mod crash;
mod dashboard;
mod deploy;
mod dial;
mod docs;
mod errors;
mod files;
mod frames;
mod help;
mod isolation;
mod json;
mod login;
mod logs;
mod logs_filters;
mod logs_flow;
mod longpoll;
mod metrics;
mod phx;
mod proxies;
mod proxy;
mod real;
mod relay;
mod router;
mod sandbox;
mod scripted;
mod scripted_proxy;
mod session;
mod shell;
mod supervise;
mod terminal;
mod tidy;
mod tls;
mod webhooks;
