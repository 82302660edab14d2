//! rig, the command-line client of the Max platform, and maxd, the platform in one
//! server binary (feature `server`).
//!
//! `docs/architecture.md` draws the layers and who may use whom; `docs/protocol.md`
//! is what the two say to each other.

// Words everyone shares, without I/O.
pub mod document;
pub mod dotenv;
pub mod env;
pub mod error;
pub mod json;
pub mod name;
pub mod packed;
pub mod queue;
pub mod redact;
pub mod suggest;
pub mod time;

// Pure: bytes and values in, bytes and values out.
#[doc(hidden)]
pub mod cli;
pub mod flow;
pub mod ignore;
pub mod manifest;
pub mod phx;
pub mod view;
pub mod wire;

// Edges: each owns one outside thing.
pub mod archive;
pub mod net;
pub mod store;
pub mod sys;
pub mod term;

// What the user can ask for.
pub mod api;
pub mod auth;
#[doc(hidden)]
pub mod commands;
pub mod session;

#[cfg(feature = "server")]
pub mod maxd;

use cli::parse::{Invocation, parse, wants_json};
use commands::COMMANDS;
use session::{Session, environment};
use std::process::ExitCode;
use term::output::Output;

/// The client's whole life: arguments in, exit code out.
pub fn rig_main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let json = wants_json(&args);
    let plain = environment("NO_COLOR").is_some() || environment("TERM").as_deref() == Some("dumb");
    let output = Output::new(json, plain);
    let remote = commands::runs_elsewhere(&args);
    match parse(COMMANDS, args) {
        Ok(Invocation::Version) => done(&output, output.write(VERSION)),
        Ok(Invocation::Help(words)) => done(&output, output.write(&cli::help::help(COMMANDS, &words))),
        Ok(Invocation::Run(command, matches)) => {
            term::end_on_signals(json);
            let session = match Session::new(output, command, &matches) {
                Ok(session) => session,
                Err(error) => return done(&Output::new(json, plain), Err(error)),
            };
            let ran = (command.run)(&session, &matches);
            let code = match (done(&session.output, ran), session.exit_code.get()) {
                (ExitCode::SUCCESS, code) => ExitCode::from(code),
                (code, _) => code,
            };
            session.close();
            code
        }
        Err(error) => done(&output, Err(if remote { error.exits(commands::OURS) } else { error })),
    }
}

/// What `rig --version` prints.
const VERSION: &str = concat!("rig ", env!("CARGO_PKG_VERSION"), "\n");

fn done(output: &Output, result: error::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(feature = "server")]
pub use maxd::main as maxd_main;
