//! maxd, the Max platform for one host.
//!
//! ```text
//! rig ── http, socket ── platform, deploys ── store (SQLite)
//!                          │        └──────── build, detect
//!                          ▼
//! browser ── router ◀── supervisor ── runtime (processes)
//!                          └───────── logs (SQLite)
//! ```

pub mod args;
pub mod auth;
pub mod build;
pub mod control;
pub mod deploys;
pub mod detect;
mod echo;
pub mod http;
mod instance;
mod keeper;
pub mod line;
pub mod logs;
pub mod longpoll;
pub mod once;
pub mod outlet;
pub mod plan;
pub mod platform;
mod pump;
mod queue;
pub mod router;
pub mod runtime;
pub mod serve;
pub mod socket;
pub mod sockets;
pub mod store;
pub mod stream;
pub mod supervisor;
mod sweep;
pub mod tls;
pub mod trial;
pub mod ws;

use crate::error::{Error, Kind, Result};
use args::{Command, Token};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;
use store::{Store, make_private};

/// The server's whole life: arguments in, exit code out.
pub fn main() -> ExitCode {
    crate::sys::signals::unblock();
    match args::parse(std::env::args_os().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("maxd: {}", error.message());
            if let Some(hint) = error.hint_text() {
                eprintln!("  {hint}");
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Help => print!("{}", args::HELP),
        Command::Version => println!("maxd {}", env!("CARGO_PKG_VERSION")),
        Command::Serve(args) => {
            let runtime = tokio::runtime::Runtime::new()
                .map_err(|error| Error::new(Kind::Failed, format!("cannot start: {error}")))?;
            let served = runtime.block_on(serve::serve(args));
            // Whatever still runs is not waited for: its outcome is on the disk or it has none.
            runtime.shutdown_background();
            served?;
        }
        Command::TokenCreate(token) => {
            println!("{}", auth::create_token(&*open(&token)?, &token.user, SystemTime::now())?);
        }
        Command::TokenList(token) => {
            println!("ID\tTOKEN\tCREATED\tUSED\tREVOKED");
            for listed in auth::list_tokens(&*open(&token)?, &token.user)? {
                let or = |time: Option<String>| time.unwrap_or_else(|| "-".to_owned());
                let (used, revoked) = (or(listed.used_at), or(listed.revoked_at));
                println!("{}\t{}…\t{}\t{used}\t{revoked}", listed.id, listed.prefix, listed.created_at);
            }
        }
        Command::TokenRevoke(token, id) => {
            auth::revoke_token(&*open(&token)?, &token.user, id, SystemTime::now())?;
            eprintln!("maxd: revoked token {id} of {} and the sessions it opened", token.user);
        }
    }
    Ok(())
}

fn open(token: &Token) -> Result<Arc<Store>> {
    make_private(&token.data)?;
    Store::open(&token.data.join("state.db"))
}
